//! The part of a node that knows no sockets and no files: the engine with what proposes, reads, renews and counts around it.
//!
//! `node.rs` puts it on TLS connections and a log store on a disk, the simulation (`tests/sim`) on seeded ones in memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flotilla_model::{LogIndex, NodeId};
use futures::future::join_all;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use openraft::network::{NetSnapshot, RaftNetworkFactory};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::Config;
use crate::folder::Start;
use crate::lease::{LeaderDuty, LeaseKeeper, Renewal};
use crate::machine::Machine;
use crate::members::MemberDuty;
use crate::net::Calls;
use crate::node::StartError;
use crate::propose::{Forwarded, Forwarder, LeaderQueue, Outcome, Proposer};
use crate::quorum::QuorumLog;
use crate::read::{self, Reads};
use crate::shared::{Leadership, Shared};
use crate::snapshot::SnapshotFile;
use crate::store::LogStore;
use crate::types::{Raft, TypeConfig};
use crate::{bootstrap, metric};

/// Renewals that may wait for the leader's duty: one per node and interval.
const RENEWALS: usize = 1_024;
/// A group's commands wait at most this long at the leader, whatever was asked.
const LONGEST: Duration = Duration::from_secs(30);

/// Cheap to clone; all clones are one node.
#[derive(Clone)]
pub struct Core {
    pub raft: Raft,
    pub shared: Arc<Shared>,
    pub proposer: Proposer,
    pub reads: Reads,
}

/// What a core is made of.
pub struct Parts {
    pub settings: Arc<openraft::Config>,
    pub shared: Arc<Shared>,
    pub log: LogStore,
    pub machine: Machine,
    /// The way to other nodes, beside openraft's own.
    pub calls: Arc<dyn Calls>,
    /// Where renewals and the leader's duty run.
    pub leases: tokio::runtime::Handle,
    pub start: Start,
}

impl Core {
    /// Starts everything on the current runtime, but for the leases.
    pub async fn start<N>(config: &Config, parts: Parts, network: N) -> Result<Core, StartError>
    where
        N: RaftNetworkFactory<TypeConfig>,
        N::Network: NetSnapshot<TypeConfig, SnapshotData = SnapshotFile>,
    {
        let Parts { settings, shared, mut log, machine, calls, leases, start } = parts;
        if let Some(snapshot) = machine.snapshot_reaches().map_err(StartError::Store)? {
            log.covered_by(snapshot).await.map_err(StartError::Store)?;
        }
        let raft = Raft::new(config.node.0, settings, network, log, machine).await;
        let raft = raft.map_err(|error| StartError::Engine(error.to_string()))?;
        follow_leadership(raft.clone(), Arc::clone(&shared), config.timing.election_max);
        watch_growth(raft.clone(), Arc::clone(&shared), config.snapshot_entries, config.snapshot_bytes);
        let (renewals, received) = mpsc::channel(RENEWALS);
        let proposer = Proposer {
            shared: Arc::clone(&shared),
            queue: LeaderQueue::spawn(raft.clone(), Arc::clone(&shared)),
            forwarder: Forwarder::new(Arc::clone(&calls), tokio::runtime::Handle::current()),
            calls: Arc::clone(&calls),
            renewals,
        };
        let duty = MemberDuty { raft: raft.clone(), shared: Arc::clone(&shared) };
        tokio::spawn(duty.run());
        let duty = LeaderDuty { shared: Arc::clone(&shared), queue: proposer.queue.clone(), renewals: received };
        leases.spawn(duty.run());
        let keeper = LeaseKeeper {
            shared: Arc::clone(&shared),
            proposer: proposer.clone(),
            start,
            version: config.version.clone(),
        };
        leases.spawn(keeper.run());
        if config.bootstrap {
            bootstrap::initialise(&raft, config).await.map_err(StartError::Engine)?;
            tokio::spawn(bootstrap::record(proposer.clone(), config.clone()));
        }
        let reads = Reads::spawn(raft.clone(), Arc::clone(&shared), calls, config.timing.refusal_round);
        Ok(Core { raft, shared, proposer, reads })
    }

    /// A peer's commands, for this node as the leader. All are queued, in order, before the first is awaited.
    pub async fn propose(&self, forwarded: Forwarded) -> Vec<Outcome> {
        let deadline = Instant::now() + Duration::from_millis(forwarded.within_ms).min(LONGEST);
        let queue = &self.proposer.queue;
        let outcomes = forwarded.commands.into_iter().map(|envelope| queue.push(envelope, None, deadline));
        let outcomes: Vec<_> = outcomes.collect();
        join_all(outcomes).await
    }

    /// A peer's renewal. Whether this node took it, as the leader.
    pub fn renew(&self, renewal: Renewal) -> bool {
        self.proposer.take_renewal(renewal)
    }

    /// The index that a peer's read must have applied, by this node as the leader.
    pub async fn read_index(&self) -> Result<LogIndex, String> {
        read::leader_index(&self.raft).await
    }
}

/// Copies who leads from the engine's metrics into our own watch.
fn follow_leadership(raft: Raft, shared: Arc<Shared>, election_max: Duration) {
    tokio::spawn(async move {
        let mut changes = raft.server_metrics();
        let mut quorum = QuorumLog::new(raft.clone(), shared.node.0, election_max);
        loop {
            let (term, leader, voters) = {
                let now = changes.borrow_watched();
                let voters = now.membership_config.membership().voter_ids().count();
                (now.vote.leader_id.term, now.current_leader, voters)
            };
            let leadership = Leadership { term, leader: leader.map(NodeId) };
            let changed = shared.leadership.send_if_modified(|old| {
                let changed = *old != leadership;
                *old = leadership;
                changed
            });
            if changed {
                metric::leadership(term, leader);
                quorum.leadership(term, leader);
            }
            quorum.counts_on_others(leader, voters);
            note_caught_up(&raft, &shared);
            let changed = tokio::select! {
                changed = changes.changed() => changed,
                () = quorum.watch_answers() => continue,
            };
            if changed.is_err() {
                return note_failure(&raft, &shared);
            }
        }
    });
}

/// The engine has ended. A failed store stops it for good: nobody leads here any more, and the node says why.
fn note_failure(raft: &Raft, shared: &Shared) {
    let why = match &raft.metrics().borrow_watched().running_state {
        Ok(_) | Err(Fatal::Stopped) => return,
        Err(fatal) => fatal.to_string(),
    };
    tracing::error!(event = "consensus_failed", why, "consensus has stopped on this node");
    shared.failed.send_replace(Some(why));
    shared.leadership.send_modify(|leadership| leadership.leader = None);
}

/// After a start a node has caught up once it has applied what a leader of its time had committed.
fn note_caught_up(raft: &Raft, shared: &Arc<Shared>) {
    if shared.caught_up.load(Ordering::Acquire) || shared.leader().is_none() {
        return;
    }
    let (raft, shared) = (raft.clone(), Arc::clone(shared));
    tokio::spawn(async move {
        if raft.wait_for_recovery(Some(Duration::from_secs(60))).await.is_ok() {
            shared.caught_up.store(true, Ordering::Release);
        }
    });
}

/// Asks for a snapshot when the log has grown enough since the last one (the engine's own policy is off).
fn watch_growth(raft: Raft, shared: Arc<Shared>, entries: u64, bytes: u64) {
    tokio::spawn(async move {
        loop {
            shared.grown.notified().await;
            let grown = shared.grown_entries.load(Ordering::Relaxed) >= entries
                || shared.grown_bytes.load(Ordering::Relaxed) >= bytes;
            if grown {
                shared.snapshot_taken();
                if raft.trigger().snapshot().await.is_err() {
                    return;
                }
            }
        }
    });
}
