//! The leader's side: groups commands of all nodes into entries, stamps them with time, proposes them under its term.

use std::sync::Arc;

use bytes::Bytes;
use flotilla_model::{Entry, Envelope, LogTime};
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Duration, Instant, timeout};

use super::Outcome;
use super::split::EntrySize;
use crate::metric;
use crate::shared::{Shared, TermBase};
use crate::types::{Payload, Raft, Replies};

/// Commands that may wait for a place in an entry.
const QUEUE: usize = 8_192;
/// Entries proposed and not yet applied. While they are under way, commands gather: grouping without a timer.
const IN_FLIGHT: usize = 16;
/// A new leader applies its first entry within this time, or its commands are sent back.
const BASE_WITHIN: Duration = Duration::from_millis(500);

struct Proposal {
    envelope: Envelope,
    /// Only under this term, for commands of the leader itself.
    term: Option<u64>,
    deadline: Instant,
    answer: oneshot::Sender<Outcome>,
}

/// Where commands wait for the leader's next entry. Cheap to clone.
#[derive(Clone)]
pub struct LeaderQueue {
    queue: mpsc::Sender<Proposal>,
}

impl LeaderQueue {
    /// Starts the grouping task on the current runtime.
    pub fn spawn(raft: Raft, shared: Arc<Shared>) -> Self {
        let (queue, proposals) = mpsc::channel(QUEUE);
        let grouper = Grouper { raft, shared, proposals, kept: None, permits: Arc::new(Semaphore::new(IN_FLIGHT)) };
        tokio::spawn(grouper.run());
        LeaderQueue { queue }
    }

    /// Queues a command; the future is its outcome.
    pub fn push(
        &self,
        envelope: Envelope,
        term: Option<u64>,
        deadline: Instant,
    ) -> impl Future<Output = Outcome> + Send + use<> {
        let (answer, outcome) = oneshot::channel();
        let pushed = self.queue.try_send(Proposal { envelope, term, deadline, answer });
        async move {
            match pushed {
                Ok(()) => outcome.await.unwrap_or_else(|_| Outcome::Unknown("the node is shutting down".to_owned())),
                Err(_) => Outcome::NotAppended("too many commands wait at the leader".to_owned()),
            }
        }
    }
}

struct Grouper {
    raft: Raft,
    shared: Arc<Shared>,
    proposals: mpsc::Receiver<Proposal>,
    /// The first one that did not fit into the last entry.
    kept: Option<Proposal>,
    permits: Arc<Semaphore>,
}

impl Grouper {
    async fn run(mut self) {
        loop {
            let first = match self.kept.take() {
                Some(first) => first,
                None => match self.proposals.recv().await {
                    Some(first) => first,
                    None => return,
                },
            };
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else { return };
            let group = self.gather(first);
            let Some(base) = self.term_base().await else {
                let leader = self.shared.leader().map_or("unknown".to_owned(), |node| node.to_string());
                refuse(group, &format!("this node does not lead, the leader is {leader}"));
                continue;
            };
            let now = Instant::now();
            let (group, late): (Vec<_>, Vec<_>) =
                group.into_iter().partition(|one| one.deadline > now && one.term.is_none_or(|term| term == base.term));
            refuse(late, "its time was over before it was proposed");
            if !group.is_empty() {
                self.propose(base, group, permit).await;
            }
        }
    }

    /// Takes what waits, as far as it fits into one entry.
    fn gather(&mut self, first: Proposal) -> Vec<Proposal> {
        let mut size = EntrySize::of(&first.envelope);
        let mut group = vec![first];
        while let Ok(next) = self.proposals.try_recv() {
            if !size.takes(&next.envelope) {
                self.kept = Some(next);
                break;
            }
            group.push(next);
        }
        group
    }

    /// The base of the term that this node leads; waits shortly for it after an election.
    async fn term_base(&self) -> Option<TermBase> {
        let term = self.raft.as_leader().ok()?.term();
        let mut base = self.shared.term_base.subscribe();
        let found = timeout(BASE_WITHIN, base.wait_for(|base| base.is_some_and(|base| base.term >= term))).await;
        let base = (*found.ok()?.ok()?)?;
        (base.term == term).then_some(base)
    }

    async fn propose(&self, base: TermBase, group: Vec<Proposal>, permit: tokio::sync::OwnedSemaphorePermit) {
        let (commands, answers): (Vec<_>, Vec<_>) =
            group.into_iter().map(|proposal| (proposal.envelope, proposal.answer)).unzip();
        metric::proposed(&commands);
        let count = self.shared.clock.now().boot.saturating_sub(base.boot) / 1_000_000;
        let entry = Entry { time: LogTime(base.time.0 + count), wall: self.shared.clock.wall(), commands };
        let payload = Payload(Bytes::from(entry.encode()));
        let (responder, applied) = ProgressResponder::complete_only();
        let Ok(leader) = self.raft.as_leader().map(|leader| leader.to_committed_leader_id()) else {
            return answer_all(answers, &Outcome::NotAppended("this node does not lead any more".to_owned()));
        };
        if let Err(error) = self.raft.write(payload).with_leader(leader).responder(responder).await {
            return answer_all(answers, &Outcome::NotAppended(error.to_string()));
        }
        tokio::spawn(async move {
            let result = applied.await;
            drop(permit);
            match result {
                Ok(Ok(written)) => answer_each(answers, written.log_id.index, written.data),
                Ok(Err(ClientWriteError::ForwardToLeader(_))) => {
                    answer_all(answers, &Outcome::NotAppended("the leader changed before it was appended".to_owned()));
                }
                Ok(Err(error)) => answer_all(answers, &Outcome::Unknown(error.to_string())),
                Err(_) => answer_all(answers, &Outcome::Unknown("the node is shutting down".to_owned())),
            }
        });
    }
}

fn answer_each(answers: Vec<oneshot::Sender<Outcome>>, index: u64, replies: Replies) {
    let mut replies = replies.0.into_iter();
    for answer in answers {
        let outcome = match replies.next() {
            Some(reply) => Outcome::Applied { index, reply },
            None => Outcome::Unknown("apply gave no reply".to_owned()),
        };
        let _ = answer.send(outcome);
    }
}

fn answer_all(answers: Vec<oneshot::Sender<Outcome>>, outcome: &Outcome) {
    for answer in answers {
        let _ = answer.send(outcome.clone());
    }
}

fn refuse(group: Vec<Proposal>, why: &str) {
    answer_all(group.into_iter().map(|one| one.answer).collect(), &Outcome::NotAppended(why.to_owned()));
}
