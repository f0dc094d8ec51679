//! The way to a leader that is another node: commands gather while groups are under way on its connection.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flotilla_model::{Envelope, NodeId};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::{Forwarded, GROUP_BYTES, GROUP_COMMANDS, Outcome, size_of};
use crate::net::{CallError, Calls};

const QUEUE: usize = 4_096;
/// Groups under way to one peer.
const IN_FLIGHT: usize = 8;
/// Longest wait for a group's answer; its commands are repeated under their ids.
const LONGEST: Duration = Duration::from_secs(10);

struct Waiting {
    envelope: Envelope,
    deadline: Instant,
    answer: oneshot::Sender<Outcome>,
}

/// One queue and task per peer that has ever led.
#[derive(Clone)]
pub struct Forwarder {
    calls: Arc<dyn Calls>,
    queues: Arc<Mutex<BTreeMap<NodeId, mpsc::Sender<Waiting>>>>,
    runtime: tokio::runtime::Handle,
}

impl Forwarder {
    pub fn new(calls: Arc<dyn Calls>, runtime: tokio::runtime::Handle) -> Self {
        Forwarder { calls, queues: Arc::default(), runtime }
    }

    pub async fn send(&self, leader: NodeId, envelope: Envelope, deadline: Instant) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        match self.queue(leader).try_send(Waiting { envelope, deadline, answer }) {
            Ok(()) => outcome.await.unwrap_or_else(|_| Outcome::Unknown("this node is shutting down".to_owned())),
            Err(_) => Outcome::NotAppended("too many commands wait for the leader".to_owned()),
        }
    }

    fn queue(&self, leader: NodeId) -> mpsc::Sender<Waiting> {
        let mut queues = self.queues.lock().expect("no panic while the queues are locked");
        let make = || {
            let (queue, waiting) = mpsc::channel(QUEUE);
            self.runtime.spawn(run(Arc::clone(&self.calls), leader, waiting));
            queue
        };
        queues.entry(leader).or_insert_with(make).clone()
    }
}

async fn run(calls: Arc<dyn Calls>, leader: NodeId, mut waiting: mpsc::Receiver<Waiting>) {
    let permits = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut kept = None;
    loop {
        let first = match kept.take() {
            Some(first) => first,
            None => match waiting.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let (group, next) = gather(first, &mut waiting);
        kept = next;
        let calls = Arc::clone(&calls);
        tokio::spawn(async move {
            send_group(&*calls, leader, group).await;
            drop(permit);
        });
    }
}

fn gather(first: Waiting, waiting: &mut mpsc::Receiver<Waiting>) -> (Vec<Waiting>, Option<Waiting>) {
    let mut bytes = size_of(&first.envelope);
    let mut group = vec![first];
    while group.len() < GROUP_COMMANDS {
        let Ok(next) = waiting.try_recv() else { break };
        bytes += size_of(&next.envelope);
        if bytes > GROUP_BYTES {
            return (group, Some(next));
        }
        group.push(next);
    }
    (group, None)
}

async fn send_group(calls: &dyn Calls, leader: NodeId, group: Vec<Waiting>) {
    let now = Instant::now();
    let last = group.iter().map(|one| one.deadline).max().unwrap_or(now);
    let within = last.saturating_duration_since(now).min(LONGEST);
    let (commands, answers): (Vec<_>, Vec<_>) = group.into_iter().map(|one| (one.envelope, one.answer)).unzip();
    let forwarded = Forwarded { commands, within_ms: within.as_millis() as u64 };
    let outcomes = match calls.propose(leader, &forwarded, within).await {
        Ok(outcomes) if outcomes.len() == answers.len() => outcomes,
        Ok(_) => vec![Outcome::Unknown("the leader answered another number of commands".to_owned()); answers.len()],
        Err(CallError::NotSent(why)) => vec![Outcome::NotAppended(why); answers.len()],
        Err(CallError::Unanswered(why)) => vec![Outcome::Unknown(why); answers.len()],
    };
    for (answer, outcome) in answers.into_iter().zip(outcomes) {
        let _ = answer.send(outcome);
    }
}
