//! Answers the calls of peers.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use openraft::storage::Snapshot as RaftSnapshot;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::messages::{EffectiveQuestion, ProbeQuestion, SnapshotHead, body, frame, of_start};
use super::server::PeerNode;
use super::wire::Frame;
use super::wire::peer_server::Peer;
use crate::core::Core;
use crate::folder::Start;
use crate::lease::Renewal;
use crate::manage::Manager;
use crate::snapshot::SnapshotFile;
use crate::types::SnapshotMeta;

/// A question about cuts waits at most this long, whatever was asked.
const LONGEST: Duration = Duration::from_secs(30);
/// A login elsewhere waits 2 s for a probe (`PROTOCOL.md` 2.5).
const PROBE_WITHIN: Duration = Duration::from_millis(2_500);
/// Size limit of a received snapshot: the folder's file system bounds it, this bounds nonsense.
const SNAPSHOT_MAX: u64 = 64 << 30;

#[derive(Clone)]
pub struct PeerService {
    pub core: Core,
    pub start: Start,
    pub snapshot_dir: PathBuf,
    pub received: Arc<AtomicU64>,
    pub manager: Manager,
}

type Answered = Result<Response<Frame>, Status>;

fn question<T: DeserializeOwned>(request: &Request<Frame>) -> Result<T, Status> {
    body(request.get_ref()).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn answer<T: Serialize>(value: &T) -> Answered {
    Ok(Response::new(frame(value)))
}

fn failed(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

/// The node whose certificate stands behind this call.
fn caller<T>(request: &Request<T>) -> Result<flotilla_model::NodeId, Status> {
    let peer = request.extensions().get::<PeerNode>().map(|peer| peer.shown.node);
    peer.ok_or_else(|| Status::unauthenticated("no peer certificate"))
}

impl PeerService {
    /// Writes the stream to a file beside the snapshots, synced. Removed if anything fails or the sender goes away. A stream that ends well
    /// need not be whole: its sender may have given it up, or have failed to read on.
    async fn receive(&self, meta: &SnapshotMeta, stream: &mut Streaming<Frame>) -> Result<SnapshotFile, Status> {
        // Nothing was promised of it: the leader sends it again, into another file.
        let failed = |error: std::io::Error| {
            tracing::error!(event = "snapshot_not_received", %error, "a snapshot that was sent cannot be written to the data folder");
            failed(error)
        };
        let number = self.received.fetch_add(1, Ordering::Relaxed);
        let snapshot = SnapshotFile::receiving(&self.snapshot_dir, number);
        // Not on another thread: it would make the file after a call that was given up has removed it.
        let mut file = tokio::fs::File::from_std(std::fs::File::create(&snapshot.path).map_err(failed)?);
        let (mut size, mut chunks) = (0, 0);
        while let Some(chunk) = stream.message().await? {
            (size, chunks) = (size + chunk.body.len() as u64, chunks + 1);
            if size > SNAPSHOT_MAX {
                return Err(Status::resource_exhausted("the snapshot is too large"));
            }
            file.write_all(&chunk.body).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        file.sync_all().await.map_err(failed)?;
        snapshot.check(meta).await.map_err(|error| {
            tracing::error!(event = "snapshot_not_received", %error, bytes = size, "what a peer sent is no whole snapshot");
            Status::data_loss(format!("what was received is no whole snapshot: {error}"))
        })?;
        tracing::info!(event = "snapshot_received", bytes = size, chunks);
        Ok(snapshot)
    }
}

/// Decodes until the stream ends; one that cannot be read ends it, and its sender begins anew.
fn decoded<T: DeserializeOwned + Send>(frames: Streaming<Frame>) -> impl Stream<Item = T> + Send {
    futures::stream::unfold(frames, |mut frames| async move {
        let decoded = match frames.message().await {
            Ok(frame) => body(&frame?).map_err(|error| error.to_string()),
            Err(status) => Err(status.message().to_owned()),
        };
        let decoded = decoded.map_err(|why| tracing::debug!(why, "a stream of appends ended")).ok()?;
        Some((decoded, frames))
    })
}

#[tonic::async_trait]
impl Peer for PeerService {
    type StreamAppendStream = BoxStream<'static, Result<Frame, Status>>;

    async fn stream_append(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::StreamAppendStream>, Status> {
        let answers = self.core.raft.stream_append(decoded(request.into_inner()));
        let frames = answers.map(|answer| answer.map(|answer| frame(&answer)).map_err(failed));
        Ok(of_start(&self.start, Response::new(Box::pin(frames))))
    }

    async fn vote(&self, request: Request<Frame>) -> Answered {
        answer(&self.core.raft.vote(question(&request)?).await.map_err(failed)?)
    }

    async fn pre_vote(&self, request: Request<Frame>) -> Answered {
        answer(&self.core.raft.pre_vote(question(&request)?).await.map_err(failed)?)
    }

    async fn append(&self, request: Request<Frame>) -> Answered {
        let answered = self.core.raft.append_entries(question(&request)?).await.map_err(failed)?;
        answer(&answered).map(|response| of_start(&self.start, response))
    }

    async fn snapshot(&self, request: Request<Streaming<Frame>>) -> Answered {
        let mut stream = request.into_inner();
        let first = stream.message().await?.ok_or_else(|| Status::invalid_argument("an empty snapshot stream"))?;
        let head: SnapshotHead = body(&first).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let snapshot = self.receive(&head.meta, &mut stream).await?;
        let snapshot = RaftSnapshot { meta: head.meta, snapshot };
        answer(&self.core.raft.install_full_snapshot(head.vote, snapshot).await.map_err(failed)?)
    }

    async fn transfer_leader(&self, request: Request<Frame>) -> Answered {
        answer(&self.core.raft.handle_transfer_leader(question(&request)?).await.map_err(failed)?)
    }

    async fn propose(&self, request: Request<Frame>) -> Answered {
        answer(&self.core.propose(question(&request)?).await)
    }

    async fn renew(&self, request: Request<Frame>) -> Answered {
        let renewal: Renewal = question(&request)?;
        if renewal.node != caller(&request)? {
            return Err(Status::permission_denied("a node renews its own lease only"));
        }
        answer(&self.core.renew(renewal))
    }

    async fn read_index(&self, request: Request<Frame>) -> Answered {
        let () = question(&request)?;
        answer(&self.core.read_index().await)
    }

    async fn cuts_effective(&self, request: Request<Frame>) -> Answered {
        let asked: EffectiveQuestion = question(&request)?;
        let mut applied = self.core.shared.applied();
        let within = Duration::from_millis(asked.within_ms).min(LONGEST);
        let reached = timeout(within, applied.wait_for(|applied| *applied >= asked.index)).await;
        answer(&matches!(reached, Ok(Ok(_))))
    }

    async fn probe(&self, request: Request<Frame>) -> Answered {
        let asked: ProbeQuestion = question(&request)?;
        let answers = match self.core.shared.agent() {
            Some(agent) => timeout(PROBE_WITHIN, agent.probe(asked.sessions)).await.ok(),
            None => None,
        };
        answer(&answers)
    }

    async fn manage(&self, request: Request<Frame>) -> Answered {
        let asked = question(&request)?;
        answer(&self.manager.answer(caller(&request)?, asked).await)
    }
}
