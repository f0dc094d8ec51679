//! Calls to a peer that are not openraft's: proposals, renewals, reads, cuts, probes.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flotilla_cluster::ProbeAnswer;
use flotilla_model::{LogIndex, NodeId, SessionId};
use futures::future::join_all;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tonic::{Response, Status};

use super::messages::{EffectiveQuestion, Manage, Managed, ProbeQuestion, body, frame};
use super::peers::Peers;
use super::wire::Frame;
use crate::lease::Renewal;
use crate::propose::{Forwarded, Outcome};
use crate::roster::Rosters;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The peer never saw it.
    #[error("{0}")]
    NotSent(String),
    /// The peer may have acted on it.
    #[error("{0}")]
    Unanswered(String),
}

/// Sends a frame and waits for the answer, within the time.
pub async fn call<Q, A, F, C>(question: &Q, within: Duration, send: F) -> Result<A, CallError>
where
    Q: Serialize,
    A: DeserializeOwned,
    F: FnOnce(Frame) -> C,
    C: Future<Output = Result<Response<Frame>, Status>>,
{
    respond(question, within, send).await.map(Response::into_inner)
}

/// As `call`, with what the answer's head says.
pub async fn respond<Q, A, F, C>(question: &Q, within: Duration, send: F) -> Result<Response<A>, CallError>
where
    Q: Serialize,
    A: DeserializeOwned,
    F: FnOnce(Frame) -> C,
    C: Future<Output = Result<Response<Frame>, Status>>,
{
    let answer = match timeout(within, send(frame(question))).await {
        Err(_) => return Err(CallError::Unanswered(format!("no answer within {} ms", within.as_millis()))),
        Ok(Err(status)) => return Err(classify(&status)),
        Ok(Ok(answer)) => answer,
    };
    let decoded = body(answer.get_ref()).map_err(|error| CallError::Unanswered(error.to_string()))?;
    Ok(answer.map(|_| decoded))
}

/// A connection that could not be made is the one failure of which the peer knows nothing.
pub fn classify(status: &Status) -> CallError {
    let mut source = status.source();
    let mut text = status.message().to_owned();
    let mut connecting = false;
    while let Some(error) = source {
        connecting |= error.is::<tonic::ConnectError>();
        text = error.to_string();
        source = error.source();
    }
    if connecting { CallError::NotSent(text) } else { CallError::Unanswered(text) }
}

fn unknown_node(node: NodeId) -> CallError {
    CallError::NotSent(format!("no address of node {node} is known"))
}

/// What a node asks of others, beside openraft, for its commands, its lease and its reads.
#[async_trait]
pub trait Calls: Send + Sync + 'static {
    /// Commands for the leader; one outcome each.
    async fn propose(&self, node: NodeId, group: &Forwarded, within: Duration) -> Result<Vec<Outcome>, CallError>;
    /// Whether the peer took the renewal, as the leader.
    async fn renew(&self, node: NodeId, renewal: &Renewal, within: Duration) -> Result<bool, CallError>;
    /// One ReadIndex round at the leader.
    async fn read_index(&self, node: NodeId, within: Duration) -> Result<LogIndex, CallError>;
}

#[async_trait]
impl Calls for Peers {
    async fn propose(&self, node: NodeId, group: &Forwarded, within: Duration) -> Result<Vec<Outcome>, CallError> {
        let mut client = self.channels(node).ok_or_else(|| unknown_node(node))?.bulk;
        call(group, within, |frame| async move { client.propose(frame).await }).await
    }

    async fn renew(&self, node: NodeId, renewal: &Renewal, within: Duration) -> Result<bool, CallError> {
        let mut client = self.channels(node).ok_or_else(|| unknown_node(node))?.control;
        call(renewal, within, |frame| async move { client.renew(frame).await }).await
    }

    async fn read_index(&self, node: NodeId, within: Duration) -> Result<LogIndex, CallError> {
        let mut client = self.channels(node).ok_or_else(|| unknown_node(node))?.bulk;
        let answer: Result<LogIndex, String> =
            call(&(), within, |frame| async move { client.read_index(frame).await }).await?;
        answer.map_err(CallError::NotSent)
    }
}

/// How often the connections for cuts are looked after, and how long one look may take.
const LOOK_AFTER: Duration = Duration::from_millis(1_500);

impl Peers {
    /// Keeps the connection over which cuts are confirmed open to every member, for the node's life: the answer to a revoking
    /// command waits at most 1 s for the peers (`PROTOCOL.md` 3.3), and that second is not for dialling, TLS and a hello, nor
    /// for the write that a peer's first welcome waits for.
    pub async fn keep_connected(self: Arc<Self>, rosters: Arc<Rosters>) {
        loop {
            let others: Vec<NodeId> =
                rosters.now().members.keys().copied().filter(|node| *node != self.us().node).collect();
            let looks = others.into_iter().map(|node| self.cuts_effective(node, 0, LOOK_AFTER));
            for failed in join_all(looks).await.into_iter().filter_map(Result::err) {
                tracing::debug!(why = %failed, "a peer is out of reach");
            }
            tokio::time::sleep(LOOK_AFTER).await;
        }
    }

    /// Whether the peer's cuts up to the index became effective in time.
    pub async fn cuts_effective(&self, node: NodeId, index: LogIndex, within: Duration) -> Result<bool, CallError> {
        let mut client = self.channels(node).ok_or_else(|| unknown_node(node))?.control;
        let question = EffectiveQuestion { index, within_ms: within.as_millis() as u64 };
        call(&question, within, |frame| async move { client.cuts_effective(frame).await }).await
    }

    pub async fn manage(&self, node: NodeId, question: &Manage, within: Duration) -> Result<Managed, CallError> {
        let mut client = self.channels(node).ok_or_else(|| unknown_node(node))?.bulk;
        call(question, within, |frame| async move { client.manage(frame).await }).await
    }

    pub async fn probe(
        &self,
        node: NodeId,
        sessions: Vec<SessionId>,
        within: Duration,
    ) -> Result<Option<Vec<ProbeAnswer>>, CallError> {
        let mut client = self.channels(node).ok_or_else(|| unknown_node(node))?.bulk;
        call(&ProbeQuestion { sessions }, within, |frame| async move { client.probe(frame).await }).await
    }
}
