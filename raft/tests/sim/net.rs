//! The network between the nodes: one queue of packets, each with the millisecond at which it arrives.
//!
//! A packet may be late, lost (its caller waits in vain), arrive twice where the protocol allows it, or not pass a cut link,
//! in one direction or both. Streams of appends keep their order, as a connection does; other calls may overtake each other.

mod client;
mod stream;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
pub use client::{Factory, PeerCalls};
use flotilla_model::LogIndex;
use flotilla_raft::testing::simulation::{CallError, Forwarded, Outcome, Renewal, SnapshotMeta};
use flotilla_raft::testing::{TypeConfig, Vote};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
pub use stream::Streams;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::rng::Rng;

#[derive(Clone)]
pub enum Question {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    Snapshot(Vote, SnapshotMeta, Bytes),
    Transfer(TransferLeaderRequest<TypeConfig>),
    Propose(Forwarded),
    Renew(Renewal),
    ReadIndex,
}

pub enum Answer {
    Append(AppendEntriesResponse<TypeConfig>),
    Vote(VoteResponse<TypeConfig>),
    Snapshot(SnapshotResponse<TypeConfig>),
    Transfer(TransferLeaderResponse<TypeConfig>),
    Proposed(Vec<Outcome>),
    Renewed(bool),
    ReadIndex(Result<LogIndex, String>),
    /// The node is there, but its engine has ended.
    Failed(String),
}

pub enum Packet {
    Ask {
        from: u64,
        call: u64,
        question: Question,
    },
    /// Nobody listens there.
    Refused {
        call: u64,
    },
    /// The process at the other end is gone.
    Reset {
        call: u64,
    },
    Reply {
        call: u64,
        answer: Box<Answer>,
    },
    /// The n-th request of a stream.
    StreamAsk {
        from: u64,
        stream: u64,
        number: u64,
        request: Box<AppendEntriesRequest<TypeConfig>>,
    },
    StreamReply {
        stream: u64,
        number: u64,
        result: Box<StreamAppendResult<TypeConfig>>,
    },
    StreamReset {
        stream: u64,
    },
    /// The leader has closed it.
    StreamClose {
        stream: u64,
    },
}

/// One direction between two nodes.
#[derive(Clone, Copy, Default)]
pub struct Link {
    pub cut: bool,
    /// Of a thousand packets.
    pub lost: u64,
    /// Longest extra time on the way, in ms.
    pub slow_ms: u64,
}

struct Waiting {
    from: u64,
    to: u64,
    answer: oneshot::Sender<Result<Answer, CallError>>,
}

struct Inner {
    now: u64,
    rng: Rng,
    links: BTreeMap<(u64, u64), Link>,
    /// By receiver, then by time of arrival and order of sending.
    flying: BTreeMap<u64, BTreeMap<(u64, u64), Packet>>,
    waiting: BTreeMap<u64, Waiting>,
    sent: u64,
    calls: u64,
    /// Of a thousand calls that may come twice.
    twice: u64,
    pub streams: Streams,
}

#[derive(Clone)]
pub struct Net {
    inner: Arc<Mutex<Inner>>,
}

impl Net {
    pub fn new(rng: Rng, twice: u64) -> Self {
        let inner = Inner {
            now: 0,
            rng,
            links: BTreeMap::new(),
            flying: BTreeMap::new(),
            waiting: BTreeMap::new(),
            sent: 0,
            calls: 0,
            twice,
            streams: Streams::default(),
        };
        Net { inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while the network is locked")
    }

    pub fn set_now(&self, now: u64) {
        self.inner().now = now;
    }

    pub fn set_link(&self, from: u64, to: u64, link: Link) {
        self.inner().links.insert((from, to), link);
    }

    pub fn heal(&self) {
        self.inner().links.clear();
    }

    pub fn packets(&self) -> u64 {
        self.inner().sent
    }

    /// What arrives at a node by now, in order.
    pub fn arrivals(&self, node: u64) -> Vec<Packet> {
        let inner = &mut *self.inner();
        let Some(flying) = inner.flying.get_mut(&node) else { return Vec::new() };
        let later = flying.split_off(&(inner.now + 1, 0));
        std::mem::replace(flying, later).into_values().collect()
    }

    /// The process of a node has ended: what flies to it finds nobody, who waits for it learns that, mostly.
    pub fn process_ended(&self, node: u64) {
        let inner = &mut *self.inner();
        let reset: Vec<(u64, u64)> =
            inner.waiting.iter().filter(|(_, one)| one.to == node).map(|(call, one)| (*call, one.from)).collect();
        inner.waiting.retain(|_, one| one.from != node);
        for (call, from) in reset {
            inner.send(node, from, Packet::Reset { call });
        }
        for (stream, from) in inner.streams.process_ended(node) {
            inner.send(node, from, Packet::StreamReset { stream });
        }
        inner.flying.remove(&node);
    }

    /// Nobody listens at the node: whoever asked is told.
    pub fn refuse(&self, node: u64, packet: Packet) {
        let inner = &mut *self.inner();
        match packet {
            Packet::Ask { from, call, .. } => inner.send(node, from, Packet::Refused { call }),
            Packet::StreamAsk { from, stream, .. } => inner.send(node, from, Packet::StreamReset { stream }),
            _ => {}
        }
    }

    /// Asks another node and waits for its answer.
    pub async fn ask(&self, from: u64, to: u64, question: Question, within: Duration) -> Result<Answer, CallError> {
        let answer = self.inner().ask(from, to, question);
        match timeout(within, answer).await {
            Err(_) => Err(CallError::Unanswered(format!("no answer within {} ms", within.as_millis()))),
            Ok(Err(_)) => Err(CallError::Unanswered("the connection broke".to_owned())),
            Ok(Ok(answer)) => answer,
        }
    }

    pub fn reply(&self, from: u64, to: u64, call: u64, answer: Answer) {
        self.inner().send(from, to, Packet::Reply { call, answer: Box::new(answer) });
    }

    /// Hands an answer, or what became of it, to who waits.
    pub fn take(&self, packet: Packet) {
        let (call, answer) = match packet {
            Packet::Reply { call, answer } => match *answer {
                Answer::Failed(why) => (call, Err(CallError::Unanswered(why))),
                answer => (call, Ok(answer)),
            },
            Packet::Refused { call } => (call, Err(CallError::NotSent("nobody listens there".to_owned()))),
            Packet::Reset { call } => (call, Err(CallError::Unanswered("the connection was reset".to_owned()))),
            Packet::StreamReply { stream, number, result } => {
                return self.inner().streams.answered(stream, number, *result);
            }
            Packet::StreamReset { stream } => return self.inner().streams.reset(stream),
            Packet::StreamClose { stream } => return self.inner().streams.close(stream),
            Packet::Ask { .. } | Packet::StreamAsk { .. } => return,
        };
        let waiting = self.inner().waiting.remove(&call);
        if let Some(waiting) = waiting {
            let _ = waiting.answer.send(answer);
        }
    }
}

impl Inner {
    fn ask(&mut self, from: u64, to: u64, question: Question) -> oneshot::Receiver<Result<Answer, CallError>> {
        self.calls += 1;
        let call = self.calls;
        if call.is_multiple_of(1_024) {
            self.waiting.retain(|_, one| !one.answer.is_closed());
        }
        let (answer, answered) = oneshot::channel();
        self.waiting.insert(call, Waiting { from, to, answer });
        if may_come_twice(&question) && self.rng.permille(self.twice) {
            self.send(from, to, Packet::Ask { from, call, question: question.clone() });
        }
        self.send(from, to, Packet::Ask { from, call, question });
        answered
    }

    fn send(&mut self, from: u64, to: u64, packet: Packet) {
        let link = self.links.get(&(from, to)).copied().unwrap_or_default();
        self.sent += 1;
        if link.cut || self.rng.permille(link.lost) {
            return;
        }
        let usual = if self.rng.permille(20) { self.rng.between(3, 40) } else { self.rng.between(1, 3) };
        let extra = if link.slow_ms == 0 { 0 } else { self.rng.below(link.slow_ms + 1) };
        let size = if matches!(&packet, Packet::Ask { question: Question::Snapshot(..), .. }) { 20 } else { 0 };
        let due = self.now + usual + extra + size;
        let due = self.streams.in_order(&packet, due);
        self.flying.entry(to).or_default().insert((due, self.sent), packet);
    }
}

/// Raft's own calls and renewals. Not commands: a call on a connection arrives once, and an answer that nothing was appended is taken to
/// be for good. Commands come again by their sender, under their number, where it heard nothing.
fn may_come_twice(question: &Question) -> bool {
    match question {
        Question::Append(_) | Question::Vote(_) | Question::PreVote(_) | Question::Renew(_) | Question::ReadIndex => {
            true
        }
        Question::Propose(_) | Question::Snapshot(..) | Question::Transfer(_) => false,
    }
}
