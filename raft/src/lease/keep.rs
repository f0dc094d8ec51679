//! Keeps this node's lease: registers when the old one is dead, sends numbered renewals while it lives (`PROTOCOL.md` 1.1, 1.5).

use std::sync::Arc;
use std::time::Duration;

use flotilla_cluster::lease::TTL_MS;
use flotilla_cluster::{Lease, SubmitError};
use flotilla_model::command::RegisterNode;
use flotilla_model::{Command, CommandId, Epoch, Refusal};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Renewal;
use crate::folder::Start;
use crate::propose::Proposer;
use crate::shared::Shared;

/// The next renewal follows this long after the last was applied; one more each time none is.
const INTERVAL: Duration = Duration::from_millis(TTL_MS / 4);
/// A renewal that did not reach the leader is sent again under its number.
const RESEND: Duration = Duration::from_millis(100);
const REGISTER_WITHIN: Duration = Duration::from_secs(3);
const REGISTER_AGAIN: Duration = Duration::from_millis(200);
const SEND_WITHIN: Duration = Duration::from_millis(1_000);

pub struct LeaseKeeper {
    pub shared: Arc<Shared>,
    pub proposer: Proposer,
    /// Which start of which store this process is.
    pub start: Start,
    pub version: String,
}

impl LeaseKeeper {
    pub async fn run(self) {
        loop {
            let lease = self.shared.lease.borrow().clone();
            match lease.filter(|lease| !lease.is_dead()) {
                Some(lease) => {
                    self.renew(&lease).await;
                    tracing::warn!(event = "lease_lost", epoch = lease.epoch().0);
                    metrics::counter!("flotilla_raft_leases_lost_total").increment(1);
                }
                None => {
                    self.register().await;
                }
            }
        }
    }

    /// One registration. It replaces the epoch that the local state shows; if that is old, apply refuses and it is read again.
    async fn register(&self) {
        let state = self.shared.state();
        let Some(row) = state.node(self.shared.node) else {
            let mut applied = self.shared.applied();
            applied.borrow_and_update();
            let _ = timeout(REGISTER_AGAIN, applied.changed()).await;
            return;
        };
        let replaces = row.last_epoch;
        match self.propose_registration(replaces).await {
            Ok(Ok(_)) => self.wait_for_lease().await,
            Ok(Err(refusal)) => {
                tracing::debug!(%refusal, "registration refused");
                if !matches!(refusal, Refusal::RegistrationCollided) {
                    sleep(REGISTER_AGAIN).await;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "registration not answered");
                sleep(REGISTER_AGAIN).await;
            }
        }
    }

    async fn propose_registration(&self, replaces: Epoch) -> Result<flotilla_model::Reply, SubmitError> {
        let command = RegisterNode {
            node: self.shared.node,
            store: self.start.identity,
            start: self.start.counter,
            nonce: self.start.nonce,
            replaces,
            version: self.version.clone(),
        };
        self.shared.book().registration_sent(replaces);
        let actor = format!("node {}", self.shared.node);
        let command = Command::RegisterNode(command);
        let submitted = self.proposer.submit(CommandId::Unnumbered, &actor, command, REGISTER_WITHIN).await;
        if let Err(error) = &submitted {
            self.shared.book().registration_failed(replaces, error.is_definite());
        }
        Ok(submitted?.reply)
    }

    /// The answer comes after local apply, so the lease is there, unless a snapshot carried it.
    async fn wait_for_lease(&self) {
        if self.shared.lease.borrow().as_ref().is_none_or(|lease| lease.is_dead()) {
            sleep(REGISTER_AGAIN).await;
        }
    }

    /// Sends renewals until the lease is dead.
    async fn renew(&self, lease: &Arc<Lease>) {
        let mut leadership = self.shared.leadership.subscribe();
        let mut renewed = self.shared.renewed.subscribe();
        let mut lease_changes = self.shared.lease.subscribe();
        leadership.borrow_and_update();
        renewed.borrow_and_update();
        lease_changes.borrow_and_update();
        let mut next = Instant::now() + INTERVAL;
        while !lease.is_dead() {
            let death = Instant::now() + Duration::from_nanos(lease.remaining_ns());
            tokio::select! {
                () = sleep_until(next) => {}
                () = sleep_until(death) => continue,
                Ok(()) = lease_changes.changed() => continue,
                Ok(()) = renewed.changed() => {
                    next = Instant::now() + INTERVAL;
                    continue;
                }
                Ok(()) = leadership.changed() => {
                    if leadership.borrow_and_update().leader.is_none() {
                        continue;
                    }
                }
            }
            next = Instant::now() + INTERVAL;
            self.send(lease);
        }
    }

    /// Sends one number, again and again until it is applied, the leader has it, or the next one is due.
    fn send(&self, lease: &Arc<Lease>) {
        let Some(number) = self.shared.book().next_renewal(lease.epoch()) else { return };
        let renewal = Renewal { node: self.shared.node, epoch: lease.epoch(), number };
        let proposer = self.proposer.clone();
        tokio::spawn(async move {
            let _ = timeout(INTERVAL, async {
                while !proposer.renew(renewal, SEND_WITHIN).await {
                    sleep(RESEND).await;
                }
            })
            .await;
        });
    }
}
