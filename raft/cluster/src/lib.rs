//! The port to the cluster: what front ends, the session core and administration know of consensus.
//!
//! `submit(command)`, `read(state behind a barrier)`, `watch`. No openraft, sled or tonic type appears here.

pub mod clock;
pub mod lease;
pub mod local;
pub mod voters;

use std::sync::Arc;

use async_trait::async_trait;
pub use clock::{Clock, Clocks, SystemClock};
use flotilla_model::{Command, CommandId, Effect, LogIndex, NodeId, Reply, RequestId, SessionId, State};
pub use lease::{Lease, LeaseLost};
pub use local::LocalCluster;
use tokio::sync::watch;
pub use voters::{promotion, voter_notes};

/// A command's answer with the index at which it was applied.
#[derive(Clone, Debug)]
pub struct Submitted {
    pub index: LogIndex,
    pub reply: Reply,
}

/// Why a command has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// Nothing happened and nothing will.
    #[error("no quorum: {0}")]
    Unavailable(String),
    /// It may have happened, or may still. A repeat under the same id answers.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    #[error("this node is shutting down")]
    Closed,
}

impl SubmitError {
    pub fn is_definite(&self) -> bool {
        !matches!(self, SubmitError::Unknown(_))
    }
}

/// No quorum answered a read in time. Nothing can be said, in particular not "denied".
#[derive(Clone, Debug, thiserror::Error)]
#[error("no quorum: {0}")]
pub struct Unavailable(pub String);

/// Why a node did not do what an operator asked of it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ManageError {
    /// Nobody answered that could have done it; it may be repeated.
    #[error("{0}")]
    Unavailable(String),
    /// It cannot be done as asked.
    #[error("{0}")]
    Refused(String),
}

/// What a node knows of its consensus group. For `/readyz`, status and metrics; no decision reads it.
#[derive(Clone, Debug, Default)]
pub struct Status {
    pub node: NodeId,
    pub leader: Option<NodeId>,
    pub term: u64,
    pub last_log_index: LogIndex,
    pub applied_index: LogIndex,
    pub voters: Vec<NodeId>,
    pub learners: Vec<NodeId>,
    /// Milliseconds since a quorum acknowledged this leader; `None` on followers.
    pub quorum_ack_age_ms: Option<u64>,
    /// Whether this node has caught up since its start and needs no snapshot.
    pub caught_up: bool,
    /// What keeps this node out of the cluster, for people: a peer that refuses its store, or its own store that failed.
    pub trouble: Vec<String>,
}

/// What changed since the last call: rows to look at again, or everything after a snapshot or a restart.
#[derive(Clone, Debug)]
pub enum Changed {
    Rows(Vec<Effect>),
    Everything,
}

/// A session asked about by another node's login (2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ProbeAnswer {
    /// Its client answered or a job of it runs.
    Alive,
    /// It is closing or has been found dead: its close is in the log or on the way.
    Closing,
    /// This node does not know it (any more).
    Gone,
}

/// A file that a session reads or writes now. For people; nothing is decided by it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ActiveTransfer {
    pub session: SessionId,
    /// Otherwise a download.
    pub upload: bool,
    /// Milliseconds since the epoch, by the node's clock.
    pub started_at: u64,
    /// Bytes that were moved.
    pub size: u64,
    /// As the client sees it.
    pub path: String,
}

/// The node's side of effects. Called by the cluster, in order.
#[async_trait]
pub trait Agent: Send + Sync + 'static {
    /// Reconciles the node with the state. Called after every apply batch, snapshot install and restart, **before**
    /// a renewal in that batch extends the lease. Must not block on anything but short locks, must not await.
    fn reconcile(&self, state: &Arc<State>, changed: &Changed);

    /// A login elsewhere met the limit: are these sessions of this node still alive? At most 2.5 s.
    async fn probe(&self, sessions: Vec<SessionId>) -> Vec<ProbeAnswer>;

    /// What this node's sessions read and write now, at most `MAX_TRANSFERS`.
    fn transfers(&self) -> Vec<ActiveTransfer> {
        Vec::new()
    }
}

/// Transfers that one node tells of.
pub const MAX_TRANSFERS: usize = 10_000;

/// The cluster as the rest of the node sees it.
#[async_trait]
pub trait Cluster: Send + Sync + 'static {
    fn node(&self) -> NodeId;

    /// The local state after the last applied batch. May lag; what authorises goes through `barrier` or is decided in apply.
    fn state(&self) -> Arc<State>;

    /// Changes with every applied batch, after `Agent::reconcile`.
    fn applied(&self) -> watch::Receiver<LogIndex>;

    /// The lease of the current epoch; `None` while the node has none. Sessions keep the object they were opened under.
    fn lease(&self) -> Option<Arc<Lease>>;
    fn lease_changes(&self) -> watch::Receiver<Option<Arc<Lease>>>;

    /// Proposes a command and waits until it is applied **here**. Retries under the same id within `deadline`.
    /// Administration passes `CommandId::Request`; node commands take their id from `Lease::number`.
    async fn submit(
        &self,
        id: CommandId,
        actor: &str,
        command: Command,
        deadline: std::time::Duration,
    ) -> Result<Submitted, SubmitError>;

    /// A linearizable read: when it returns, `state()` is at least as new as anything acknowledged before the call.
    /// One round trip on an idle node; callers during a round share the next one.
    async fn barrier(&self, deadline: std::time::Duration) -> Result<LogIndex, Unavailable>;

    /// The same before a refusal: rounds that only refusals ask for are at least 20 ms apart (`PROTOCOL.md` 3.4).
    async fn refusal_barrier(&self, deadline: std::time::Duration) -> Result<LogIndex, Unavailable> {
        self.barrier(deadline).await
    }

    fn status(&self) -> Status;

    /// Hands the node's agent to the cluster; calls `reconcile(Everything)` at once. Once.
    fn set_agent(&self, agent: Arc<dyn Agent>);

    /// Waits until the cuts up to `index` are effective on these nodes; returns those that have not confirmed in time (3.3).
    async fn cuts_effective(&self, nodes: &[NodeId], index: LogIndex, deadline: std::time::Duration) -> Vec<NodeId>;

    /// Moves leadership to this voter, or to the one whose log reaches furthest; returns who leads then.
    async fn transfer(&self, to: Option<NodeId>, _deadline: std::time::Duration) -> Result<NodeId, ManageError> {
        match to {
            Some(to) if to != self.node() => Err(ManageError::Refused(format!("there is no node {to}"))),
            _ => Ok(self.node()),
        }
    }

    /// Tells a node's process to drain and end, as SIGTERM does. Answered when it has begun.
    async fn drain(&self, node: NodeId, _deadline: std::time::Duration) -> Result<(), ManageError> {
        Err(ManageError::Refused(format!("node {node} is no process")))
    }

    /// What a node's sessions read and write now. `None`: no answer in time or unreachable.
    async fn transfers(&self, _node: NodeId, _deadline: std::time::Duration) -> Option<Vec<ActiveTransfer>> {
        None
    }

    /// Asks a node about its sessions (2.5). `None`: no answer in time or unreachable.
    async fn probe(&self, node: NodeId, sessions: Vec<SessionId>) -> Option<Vec<ProbeAnswer>>;
}

/// A fresh request id for a caller that gave none: UUIDv7 of now.
pub fn new_request_id() -> RequestId {
    let ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis())
        & 0xffff_ffff_ffff;
    let mut random = [0u8; 10];
    let mut filled = 0;
    while filled < random.len() {
        match rustix::rand::getrandom(&mut random[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => unreachable!("getrandom cannot fail on a kernel with openat2: {error}"),
        }
    }
    let mut low = [0u8; 16];
    low[6..].copy_from_slice(&random);
    let low = u128::from_be_bytes(low);
    let version = (low & !(0xf << 76)) | (7 << 76);
    let variant = (version & !(0b11 << 62)) | (0b10 << 62);
    RequestId((ms << 80) | variant)
}
