//! openraft's network over our connections: heartbeats and votes, appends, and snapshots each on their own.

use std::sync::Arc;
use std::time::Duration;

use flotilla_model::NodeId;
use futures::Stream;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::impls::BasicNode;
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use tokio::io::AsyncReadExt;
use tokio_stream::wrappers::ReceiverStream;

use super::append_stream;
use super::calls::{CallError, call, respond};
use super::messages::{SnapshotHead, body, frame, start_of};
use super::peers::{Client, PeerChannels, Peers};
use super::wire::Frame;
use crate::folder::Start;
use crate::snapshot::SnapshotFile;
use crate::types::{LogId, Snapshot, TypeConfig, Vote};

/// Bytes of the snapshot file per frame.
const CHUNK: usize = 1 << 20;

pub struct NetworkFactory {
    pub peers: Arc<Peers>,
    pub call_within: Duration,
}

/// Which connection appends take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    Control,
    Append,
}

pub struct Network {
    peers: Arc<Peers>,
    node: NodeId,
    lane: Lane,
    call_within: Duration,
}

impl NetworkFactory {
    fn network(&self, target: u64, node: &BasicNode, lane: Lane) -> Network {
        self.peers.set_address(NodeId(target), &node.addr);
        Network { peers: Arc::clone(&self.peers), node: NodeId(target), lane, call_within: self.call_within }
    }
}

impl RaftNetworkFactory<TypeConfig> for NetworkFactory {
    type Network = Network;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Network {
        self.network(target, node, Lane::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &BasicNode) -> Network {
        self.network(target, node, Lane::Control)
    }
}

pub fn rpc_error(error: CallError) -> RPCError<TypeConfig> {
    match error {
        CallError::NotSent(why) => RPCError::Unreachable(Unreachable::from_string(why)),
        CallError::Unanswered(why) => RPCError::Network(NetworkError::from_string(why)),
    }
}

impl Network {
    fn channels(&self) -> Result<PeerChannels, RPCError<TypeConfig>> {
        let unknown = || RPCError::Unreachable(Unreachable::from_string("no address is known"));
        self.peers.channels(self.node).ok_or_else(unknown)
    }

    fn control(&self) -> Result<Client, RPCError<TypeConfig>> {
        self.channels().map(|channels| channels.control)
    }

    /// Remembers what the peer acknowledged: a store that later shows less is refused (`DESIGN.md` 6).
    fn remember(
        &self,
        start: &Start,
        vote: &Vote,
        last: Option<LogId>,
        committed: Option<LogId>,
    ) -> Result<(), String> {
        let Some(last) = last else { return Ok(()) };
        let committed = committed.map_or(0, |id| id.index);
        self.peers.us().memory.acknowledged(self.node, start, vote.leader_id.term, last.index, committed)
    }
}

impl RaftNetworkV2<TypeConfig> for Network {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let channels = self.channels()?;
        // openraft gives the heartbeat interval for both; entries wait for a disk, so they get our own time.
        let (mut client, within) = match self.lane {
            Lane::Control => (channels.control, option.hard_ttl()),
            Lane::Append => (channels.append, self.call_within),
        };
        let answer = respond(&request, within, |frame| async move { client.append(frame).await }).await;
        let answer = answer.map_err(rpc_error)?;
        let last = match answer.get_ref() {
            AppendEntriesResponse::Success => request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id),
            AppendEntriesResponse::PartialSuccess(last) => *last,
            _ => None,
        };
        let counts =
            start_of(&answer).and_then(|start| self.remember(&start, &request.vote, last, request.leader_commit));
        counts.map_err(|why| RPCError::Network(NetworkError::from_string(why)))?;
        Ok(answer.into_inner())
    }

    /// Entries are pipelined. A heartbeat is one request and one answer, whose connection carries nothing that is long.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, append_stream::Answer>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + openraft::OptionalSend + Unpin + 'static,
    {
        if self.lane == Lane::Control {
            return stream_append_sequential(self, input, option);
        }
        Box::pin(async move {
            let client = self.channels()?.append;
            append_stream::open(client, Arc::clone(&self.peers), self.node, input, self.call_within).await
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.control()?;
        call(&request, option.hard_ttl(), |frame| async move { client.vote(frame).await }).await.map_err(rpc_error)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.control()?;
        call(&request, option.hard_ttl(), |frame| async move { client.pre_vote(frame).await }).await.map_err(rpc_error)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + openraft::OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let network = |why: String| StreamingError::Network(NetworkError::from_string(why));
        let unknown = || StreamingError::Unreachable(Unreachable::from_string("no address is known"));
        let mut client = self.peers.channels(self.node).ok_or_else(unknown)?.bulk;
        let (frames, stream) = tokio::sync::mpsc::channel(4);
        let head = frame(&SnapshotHead { vote, meta: snapshot.meta.clone() });
        let feeding = tokio::spawn(feed(head, snapshot.snapshot, frames));
        let sending = tokio::time::timeout(option.hard_ttl(), client.snapshot(ReceiverStream::new(stream)));
        let answer = tokio::select! {
            closed = cancel => return Err(StreamingError::Closed(closed)),
            answer = sending => answer,
        };
        feeding.abort();
        match answer {
            Err(_) => Err(network("the snapshot took too long".to_owned())),
            Ok(Err(status)) => Err(network(status.to_string())),
            Ok(Ok(answer)) => body(answer.get_ref()).map_err(|error| network(error.to_string())),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.control()?;
        call(&request, self.call_within, |frame| async move { client.transfer_leader(frame).await })
            .await
            .map_err(rpc_error)
    }
}

/// Reads the file in chunks into the stream; on an error the stream just ends and the receiver refuses what it has.
async fn feed(head: Frame, snapshot: SnapshotFile, frames: tokio::sync::mpsc::Sender<Frame>) {
    if let Err(error) = feed_file(head, &snapshot, &frames).await {
        tracing::warn!(%error, file = %snapshot.path.display(), "reading a snapshot to send failed");
    }
}

async fn feed_file(
    head: Frame,
    snapshot: &SnapshotFile,
    frames: &tokio::sync::mpsc::Sender<Frame>,
) -> std::io::Result<()> {
    // Opened before anything is sent: a newer snapshot may remove the name meanwhile, the content stays.
    let mut file = tokio::fs::File::open(&snapshot.path).await?;
    if frames.send(head).await.is_err() {
        return Ok(());
    }
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        (&mut file).take(CHUNK as u64).read_to_end(&mut chunk).await?;
        if chunk.is_empty() || frames.send(Frame { body: chunk }).await.is_err() {
            return Ok(());
        }
    }
}
