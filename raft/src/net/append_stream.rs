//! Pipelined appends: requests go out on one stream without waiting, answers come back in their order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flotilla_model::NodeId;
use futures::{Stream, StreamExt};
use openraft::base::BoxStream;
use openraft::errors::{NetworkError, RPCError};
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tonic::Streaming;

use super::calls::classify;
use super::factory::rpc_error;
use super::messages::{body, frame, start_of};
use super::peers::{Client, Peers};
use super::wire::Frame;
use crate::folder::Start;
use crate::types::TypeConfig;

/// Requests sent and not yet answered. Each holds up to 2 MiB of entries; as many wait in the follower's engine.
const IN_FLIGHT: usize = 64;

pub type Answer = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

/// A request under way: what its answer means, and the permit that lets another one follow.
struct Sent {
    at: Instant,
    term: u64,
    committed: u64,
    _permit: OwnedSemaphorePermit,
}

type InFlight = Arc<Mutex<VecDeque<Sent>>>;

fn lock(sent: &InFlight) -> std::sync::MutexGuard<'_, VecDeque<Sent>> {
    sent.lock().expect("no panic while the requests under way are locked")
}

/// Opens the stream, once there is something to send: the engine holds back the first request after a failure, and a peer that
/// is out of reach must not be dialled without that. `within` bounds the opening and the wait for each answer; an idle
/// stream stays open.
pub async fn open(
    mut client: Client,
    peers: Arc<Peers>,
    node: NodeId,
    requests: impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    within: Duration,
) -> Result<BoxStream<'static, Answer>, RPCError<TypeConfig>> {
    // Ended, the engine looks for what it has to do now.
    let us = Arc::clone(&peers);
    let mut requests = requests.take_while(move |request| std::future::ready(!us.us().log.lacks_entries_for(request)));
    let Some(first) = requests.next().await else { return Ok(Box::pin(futures::stream::empty())) };
    let requests = futures::stream::once(std::future::ready(first)).chain(requests);
    let sent = InFlight::default();
    let frames = sending(requests, Arc::clone(&sent));
    let answers = match tokio::time::timeout(within, client.stream_append(frames)).await {
        Err(_) => return Err(silent(within)),
        Ok(Err(status)) => return Err(rpc_error(classify(&status))),
        Ok(Ok(answers)) => answers,
    };
    let start = start_of(&answers).map_err(|why| RPCError::Network(NetworkError::from_string(why)))?;
    Ok(Box::pin(receiving(Receiving { answers: answers.into_inner(), start, sent, peers, node, within })))
}

fn silent(within: Duration) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::from_string(format!("an append has no answer within {} ms", within.as_millis())))
}

/// Takes a request only when there is room under way, so that a slow follower holds back the reading of the log.
fn sending(
    requests: impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    sent: InFlight,
) -> impl Stream<Item = Frame> + Send + 'static {
    let room = Arc::new(Semaphore::new(IN_FLIGHT));
    futures::stream::unfold((requests, room, sent), |(mut requests, room, sent)| async move {
        let permit = Arc::clone(&room).acquire_owned().await.ok()?;
        let request = requests.next().await?;
        let term = request.vote.leader_id.term;
        let committed = request.leader_commit.map_or(0, |id| id.index);
        lock(&sent).push_back(Sent { at: Instant::now(), term, committed, _permit: permit });
        Some((frame(&request), (requests, room, sent)))
    })
}

struct Receiving {
    answers: Streaming<Frame>,
    /// Of the peer's store, whose word all answers of the stream are.
    start: Start,
    sent: InFlight,
    peers: Arc<Peers>,
    node: NodeId,
    within: Duration,
}

/// The answers, up to and including the first that is not an acknowledgement.
fn receiving(receiving: Receiving) -> impl Stream<Item = Answer> + Send + 'static {
    futures::stream::unfold(Some(receiving), |receiving| async move {
        let mut receiving = receiving?;
        let answer = receiving.next().await?;
        let goes_on = matches!(answer, Ok(Ok(_)));
        Some((answer, goes_on.then_some(receiving)))
    })
}

impl Receiving {
    async fn next(&mut self) -> Option<Answer> {
        let answer = match self.next_frame().await? {
            Ok(answer) => answer,
            Err(error) => return Some(Err(error)),
        };
        let result: StreamAppendResult<TypeConfig> = match body(&answer) {
            Ok(result) => result,
            Err(error) => return Some(Err(RPCError::Network(NetworkError::from_string(error.to_string())))),
        };
        let sent = lock(&self.sent).pop_front();
        if let (Ok(Some(matched)), Some(sent)) = (&result, sent) {
            // A store that later shows less is refused (`DESIGN.md` 6).
            let memory = &self.peers.us().memory;
            if let Err(why) = memory.acknowledged(self.node, &self.start, sent.term, matched.index, sent.committed) {
                return Some(Err(RPCError::Network(NetworkError::from_string(why))));
            }
        }
        Some(Ok(result))
    }

    /// Waits as long as nothing is under way, else until the oldest request has waited for `within`.
    async fn next_frame(&mut self) -> Option<Result<Frame, RPCError<TypeConfig>>> {
        loop {
            let oldest = lock(&self.sent).front().map(|sent| sent.at);
            let until = oldest.unwrap_or_else(Instant::now) + self.within;
            match timeout_at(until, self.answers.message()).await {
                Ok(Ok(frame)) => return frame.map(Ok),
                Ok(Err(status)) => return Some(Err(rpc_error(classify(&status)))),
                Err(_) if lock(&self.sent).front().is_some_and(|sent| sent.at.elapsed() >= self.within) => {
                    return Some(Err(silent(self.within)));
                }
                Err(_) => {}
            }
        }
    }
}
