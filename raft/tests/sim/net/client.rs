//! A node's side of the network: openraft's traits and the product's calls.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use flotilla_model::{LogIndex, NodeId};
use flotilla_raft::testing::simulation::{
    CallError, Calls, Forwarded, Outcome, Renewal, Shown, Snapshot, SnapshotFile,
};
use flotilla_raft::testing::{TypeConfig, Vote};
use futures::{Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::impls::BasicNode;
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::{Answer, Net, Question};

/// As in the product's settings.
const CALL: Duration = Duration::from_secs(2);

type RpcResult<T> = Result<T, RPCError<TypeConfig>>;

#[derive(Clone)]
pub struct Factory {
    pub net: Net,
    pub node: u64,
    pub log: Shown,
}

pub struct Network {
    net: Net,
    from: u64,
    to: u64,
    heartbeats: bool,
    log: Shown,
}

impl RaftNetworkFactory<TypeConfig> for Factory {
    type Network = Network;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> Network {
        Network { net: self.net.clone(), from: self.node, to: target, heartbeats: false, log: self.log.clone() }
    }

    async fn new_heartbeat_client(&mut self, target: u64, _node: &BasicNode) -> Network {
        Network { net: self.net.clone(), from: self.node, to: target, heartbeats: true, log: self.log.clone() }
    }
}

fn rpc(error: CallError) -> RPCError<TypeConfig> {
    match error {
        CallError::NotSent(why) => RPCError::Unreachable(Unreachable::from_string(why)),
        CallError::Unanswered(why) => RPCError::Network(NetworkError::from_string(why)),
    }
}

pub fn other() -> CallError {
    CallError::Unanswered("an answer to another question".to_owned())
}

impl Network {
    async fn ask(&self, question: Question, within: Duration) -> RpcResult<Answer> {
        self.net.ask(self.from, self.to, question, within).await.map_err(rpc)
    }
}

impl RaftNetworkV2<TypeConfig> for Network {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<AppendEntriesResponse<TypeConfig>> {
        let within = if self.heartbeats { option.hard_ttl() } else { CALL };
        match self.ask(Question::Append(request), within).await? {
            Answer::Append(answer) => Ok(answer),
            _ => Err(rpc(other())),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, RpcResult<BoxStream<'s, RpcResult<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + openraft::OptionalSend + Unpin + 'static,
    {
        if self.heartbeats {
            return stream_append_sequential(self, input, option);
        }
        let (net, from, to) = (self.net.clone(), self.from, self.to);
        let log = self.log.clone();
        let input = input.take_while(move |request| std::future::ready(!log.lacks_entries_for(request)));
        Box::pin(async move { Ok(super::stream::open(net, from, to, input, CALL).await) })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        match self.ask(Question::Vote(request), option.hard_ttl()).await? {
            Answer::Vote(answer) => Ok(answer),
            _ => Err(rpc(other())),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        match self.ask(Question::PreVote(request), option.hard_ttl()).await? {
            Answer::Vote(answer) => Ok(answer),
            _ => Err(rpc(other())),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + openraft::OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let network = |why: String| StreamingError::Network(NetworkError::from_string(why));
        let bytes = std::fs::read(&snapshot.snapshot.path).map_err(|error| network(error.to_string()))?;
        let question = Question::Snapshot(vote, snapshot.meta, Bytes::from(bytes));
        let asking = self.net.ask(self.from, self.to, question, option.hard_ttl().min(Duration::from_secs(10)));
        let answer = tokio::select! {
            biased;
            closed = cancel => return Err(StreamingError::Closed(closed)),
            answer = asking => answer,
        };
        match answer {
            Ok(Answer::Snapshot(answer)) => Ok(answer),
            Ok(_) => Err(network(other().to_string())),
            Err(CallError::NotSent(why)) => Err(StreamingError::Unreachable(Unreachable::from_string(why))),
            Err(CallError::Unanswered(why)) => Err(network(why)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> RpcResult<TransferLeaderResponse<TypeConfig>> {
        match self.ask(Question::Transfer(request), CALL).await? {
            Answer::Transfer(answer) => Ok(answer),
            _ => Err(rpc(other())),
        }
    }
}

/// The product's own calls.
pub struct PeerCalls(pub Factory);

impl PeerCalls {
    pub fn of(factory: &Factory) -> Arc<dyn Calls> {
        Arc::new(PeerCalls(factory.clone()))
    }
}

#[async_trait]
impl Calls for PeerCalls {
    async fn propose(&self, node: NodeId, group: &Forwarded, within: Duration) -> Result<Vec<Outcome>, CallError> {
        let question = Question::Propose(group.clone());
        match self.0.net.ask(self.0.node, node.0, question, within).await? {
            Answer::Proposed(outcomes) => Ok(outcomes),
            _ => Err(other()),
        }
    }

    async fn renew(&self, node: NodeId, renewal: &Renewal, within: Duration) -> Result<bool, CallError> {
        match self.0.net.ask(self.0.node, node.0, Question::Renew(*renewal), within).await? {
            Answer::Renewed(taken) => Ok(taken),
            _ => Err(other()),
        }
    }

    async fn read_index(&self, node: NodeId, within: Duration) -> Result<LogIndex, CallError> {
        match self.0.net.ask(self.0.node, node.0, Question::ReadIndex, within).await? {
            Answer::ReadIndex(index) => index.map_err(CallError::NotSent),
            _ => Err(other()),
        }
    }
}
