//! Submits a command from this node: finds the leader, repeats under the same id, waits until it is applied here.

use std::sync::Arc;
use std::time::Duration;

use flotilla_cluster::{SubmitError, Submitted};
use flotilla_model::{Command, CommandId, Envelope, LogIndex, NodeId, Refusal};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::forward::Forwarder;
use super::{GROUP_BYTES, LeaderQueue, Outcome, size_of};
use crate::lease::Renewal;
use crate::net::Calls;
use crate::shared::Shared;

/// Wait before the next attempt, unless the leader changes.
const AGAIN: Duration = Duration::from_millis(50);

/// A node's way into the log. Cheap to clone.
#[derive(Clone)]
pub struct Proposer {
    pub shared: Arc<Shared>,
    pub queue: LeaderQueue,
    pub forwarder: Forwarder,
    pub calls: Arc<dyn Calls>,
    /// Renewals for this node's own leader duty.
    pub renewals: mpsc::Sender<Renewal>,
}

impl Proposer {
    /// Proposes until it is applied here or the deadline is over. Definite only if no attempt is left unresolved.
    pub async fn submit(
        &self,
        id: CommandId,
        actor: &str,
        command: Command,
        within: Duration,
    ) -> Result<Submitted, SubmitError> {
        let deadline = Instant::now() + within;
        let envelope = Envelope { id, actor: actor.to_owned(), command };
        if let Some(refusal) = too_large(&envelope) {
            self.note_answered(id);
            return Ok(Submitted { index: self.shared.applied_index(), reply: Err(refusal) });
        }
        let mut unknown = None;
        loop {
            let last = match timeout_at(deadline, self.attempt(envelope.clone(), deadline)).await {
                Ok(Outcome::Applied { index, reply }) => {
                    #[cfg(feature = "planted-bugs")]
                    if flotilla_model::planted::is("answer-before-apply") {
                        return Ok(Submitted { index, reply });
                    }
                    self.applied_here(index, deadline).await?;
                    self.note_answered(id);
                    return Ok(Submitted { index, reply });
                }
                Ok(Outcome::NotAppended(why)) => why,
                Ok(Outcome::Unknown(why)) => unknown.insert(why).clone(),
                Err(_) => unknown.insert("no answer in time".to_owned()).clone(),
            };
            // The next attempt, behind the pause, must have time to be refused: one that is cut off leaves its outcome unknown.
            if Instant::now() + 2 * AGAIN >= deadline {
                return Err(unknown.map_or(SubmitError::Unavailable(last), SubmitError::Unknown));
            }
            self.pause().await;
        }
    }

    async fn attempt(&self, envelope: Envelope, deadline: Instant) -> Outcome {
        match self.shared.leader() {
            None => Outcome::NotAppended(self.why_no_leader()),
            Some(leader) if leader == self.shared.node => self.queue.push(envelope, None, deadline).await,
            Some(leader) => self.forwarder.send(leader, envelope, deadline).await,
        }
    }

    /// Why nobody leads, as far as this node knows.
    fn why_no_leader(&self) -> String {
        match &*self.shared.failed.borrow() {
            Some(why) => format!("consensus has stopped on this node: {why}"),
            None => "no leader is known".to_owned(),
        }
    }

    async fn pause(&self) {
        let mut leadership = self.shared.leadership.subscribe();
        leadership.borrow_and_update();
        let _ = timeout(AGAIN, leadership.changed()).await;
    }

    async fn applied_here(&self, index: LogIndex, deadline: Instant) -> Result<(), SubmitError> {
        let mut applied = self.shared.applied();
        match timeout_at(deadline, applied.wait_for(|applied| *applied >= index)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(SubmitError::Closed),
            Err(_) => Err(SubmitError::Unknown(format!("applied at the leader as {index}, not yet at this node"))),
        }
    }

    fn note_answered(&self, id: CommandId) {
        let CommandId::Node { epoch, number, .. } = id else { return };
        if let Some(lease) = self.shared.lease.borrow().as_ref().filter(|lease| lease.epoch() == epoch) {
            lease.answered(number);
        }
    }

    /// Hands a renewal to the leader. Whether it has it.
    pub async fn renew(&self, renewal: Renewal, within: Duration) -> bool {
        match self.shared.leader() {
            None => false,
            Some(leader) if leader == self.shared.node => self.take_renewal(renewal),
            Some(leader) => self.renew_at(leader, renewal, within).await,
        }
    }

    async fn renew_at(&self, leader: NodeId, renewal: Renewal, within: Duration) -> bool {
        self.calls.renew(leader, &renewal, within).await.unwrap_or(false)
    }

    /// A renewal for this node as the leader.
    pub fn take_renewal(&self, renewal: Renewal) -> bool {
        self.shared.leader() == Some(self.shared.node) && self.renewals.try_send(renewal).is_ok()
    }
}

/// No entry is larger than a group, so no command may be.
fn too_large(envelope: &Envelope) -> Option<Refusal> {
    let bytes = size_of(envelope);
    (bytes > GROUP_BYTES).then(|| {
        Refusal::Invalid(format!("command: it has {bytes} bytes, at most {GROUP_BYTES} fit into the log's entry"))
    })
}
