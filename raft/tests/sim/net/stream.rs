//! Pipelined appends, as the product's: requests go out without waiting, in order, and so come the answers. What a connection
//! loses breaks it: a request or an answer out of turn ends the stream.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use flotilla_raft::testing::TypeConfig;
use futures::{Stream, StreamExt};
use openraft::base::BoxStream;
use openraft::errors::{NetworkError, RPCError};
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, timeout_at};

use super::{Net, Packet};

/// Requests under way at most, as in the product.
const IN_FLIGHT: usize = 64;

type Request = AppendEntriesRequest<TypeConfig>;
pub type Appended = StreamAppendResult<TypeConfig>;
type Answer = Result<Appended, RPCError<TypeConfig>>;

/// The leader's end of a stream.
struct Sending {
    from: u64,
    to: u64,
    /// The number of the answer that must come next.
    next: u64,
    answers: UnboundedSender<Appended>,
}

/// The follower's end.
struct Receiving {
    at: u64,
    next: u64,
    requests: UnboundedSender<Request>,
}

#[derive(Default)]
pub struct Streams {
    opened: u64,
    sending: BTreeMap<u64, Sending>,
    receiving: BTreeMap<u64, Receiving>,
    /// When the last packet of a stream arrives, by stream and direction.
    last: BTreeMap<(u64, bool), u64>,
}

impl Streams {
    /// When a packet arrives so that none of its stream overtakes another.
    pub fn in_order(&mut self, packet: &Packet, due: u64) -> u64 {
        let key = match packet {
            Packet::StreamAsk { stream, .. } | Packet::StreamClose { stream } => (*stream, true),
            Packet::StreamReply { stream, .. } | Packet::StreamReset { stream } => (*stream, false),
            _ => return due,
        };
        let last = self.last.entry(key).or_default();
        *last = due.max(*last);
        *last
    }

    pub fn answered(&mut self, stream: u64, number: u64, result: Appended) {
        let Some(sending) = self.sending.get_mut(&stream) else { return };
        let in_turn = sending.next == number;
        sending.next += 1;
        if !in_turn || sending.answers.send(result).is_err() {
            self.reset(stream);
        }
    }

    /// The leader's end is closed: its answers end.
    pub fn reset(&mut self, stream: u64) {
        self.sending.remove(&stream);
        self.last.remove(&(stream, true));
        self.last.remove(&(stream, false));
    }

    /// The follower's end is closed.
    pub fn close(&mut self, stream: u64) {
        self.receiving.remove(&stream);
    }

    /// Both ends at a node vanish; returns the streams whose leaders notice, with those.
    pub fn process_ended(&mut self, node: u64) -> Vec<(u64, u64)> {
        let own: Vec<u64> = self.sending.iter().filter(|(_, one)| one.from == node).map(|(id, _)| *id).collect();
        for stream in own {
            self.reset(stream);
            self.close(stream);
        }
        self.receiving.retain(|_, one| one.at != node);
        self.sending.iter().filter(|(_, one)| one.to == node).map(|(id, one)| (*id, one.from)).collect()
    }

    /// Takes a request at the follower. `Ok(Some)`: the stream begins. An error: it is broken.
    fn take(
        &mut self,
        at: u64,
        stream: u64,
        number: u64,
        request: Request,
    ) -> Result<Option<UnboundedReceiver<Request>>, ()> {
        let mut begun = None;
        if number == 0 && !self.receiving.contains_key(&stream) {
            let (requests, taken) = mpsc::unbounded_channel();
            self.receiving.insert(stream, Receiving { at, next: 0, requests });
            begun = Some(taken);
        }
        let receiving = self.receiving.get_mut(&stream).ok_or(())?;
        if receiving.next != number || receiving.requests.send(request).is_err() {
            self.receiving.remove(&stream);
            return Err(());
        }
        receiving.next += 1;
        Ok(begun)
    }
}

impl Net {
    /// A request arrived at a node: the stream of requests, if it is the first.
    pub fn stream_arrived(&self, at: u64, packet: Packet) -> Option<(u64, u64, UnboundedReceiver<Request>)> {
        let Packet::StreamAsk { from, stream, number, request } = packet else { return None };
        let inner = &mut *self.inner();
        match inner.streams.take(at, stream, number, *request) {
            Ok(begun) => begun.map(|requests| (from, stream, requests)),
            Err(()) => {
                inner.send(at, from, Packet::StreamReset { stream });
                None
            }
        }
    }

    pub fn stream_reply(&self, from: u64, to: u64, stream: u64, number: u64, result: Appended) {
        self.inner().send(from, to, Packet::StreamReply { stream, number, result: Box::new(result) });
    }

    /// The follower's engine has ended the stream.
    pub fn stream_ended(&self, from: u64, to: u64, stream: u64) {
        let inner = &mut *self.inner();
        inner.streams.close(stream);
        inner.send(from, to, Packet::StreamReset { stream });
    }
}

fn broken(why: &str) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::from_string(why))
}

struct State<S> {
    net: Net,
    ends: (u64, u64),
    stream: u64,
    sent: u64,
    /// When what is under way was sent.
    under_way: VecDeque<Instant>,
    input: Option<S>,
    answers: UnboundedReceiver<Appended>,
    within: Duration,
}

/// Opens a stream once there is something to send, as the product does.
pub async fn open<S>(net: Net, from: u64, to: u64, mut input: S, within: Duration) -> BoxStream<'static, Answer>
where
    S: Stream<Item = Request> + Send + Unpin + 'static,
{
    let Some(first) = input.next().await else { return Box::pin(futures::stream::empty()) };
    let (answers, received) = mpsc::unbounded_channel();
    let stream = {
        let streams = &mut net.inner().streams;
        streams.opened += 1;
        streams.sending.insert(streams.opened, Sending { from, to, next: 0, answers });
        streams.opened
    };
    let mut state = State {
        net,
        ends: (from, to),
        stream,
        sent: 0,
        under_way: VecDeque::new(),
        input: Some(input),
        answers: received,
        within,
    };
    state.send(first);
    Box::pin(futures::stream::unfold(Some(state), |state| async move {
        let mut state = state?;
        let answer = state.next().await?;
        let goes_on = matches!(answer, Ok(Ok(_)));
        Some((answer, goes_on.then_some(state)))
    }))
}

impl<S> State<S> {
    fn send(&mut self, request: Request) {
        let (from, to) = self.ends;
        let packet = Packet::StreamAsk { from, stream: self.stream, number: self.sent, request: Box::new(request) };
        self.sent += 1;
        self.under_way.push_back(Instant::now());
        self.net.inner().send(from, to, packet);
    }
}

impl<S: Stream<Item = Request> + Unpin> State<S> {
    /// Sends while there is room and waits for the next answer, until the oldest request has waited too long.
    async fn next(&mut self) -> Option<Answer> {
        loop {
            let oldest = self.under_way.front().copied();
            let until = oldest.unwrap_or_else(Instant::now) + self.within;
            let room = self.under_way.len() < IN_FLIGHT && self.input.is_some();
            if !room && oldest.is_none() {
                return None;
            }
            let asked = async {
                match &mut self.input {
                    Some(input) => input.next().await,
                    None => None,
                }
            };
            tokio::select! {
                biased;
                answer = timeout_at(until, self.answers.recv()) => match answer {
                    Ok(Some(answer)) => {
                        self.under_way.pop_front();
                        return Some(Ok(answer));
                    }
                    Ok(None) => return Some(Err(broken("the connection broke"))),
                    Err(_) if oldest.is_some() => return Some(Err(broken("an append has no answer in time"))),
                    Err(_) => {}
                },
                request = asked, if room => match request {
                    Some(request) => self.send(request),
                    None => self.input = None,
                },
            }
        }
    }
}

impl<S> Drop for State<S> {
    fn drop(&mut self) {
        let inner = &mut *self.net.inner();
        let (from, to) = self.ends;
        inner.send(from, to, Packet::StreamClose { stream: self.stream });
        inner.streams.reset(self.stream);
    }
}
