//! The cluster as the rest of the node sees it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use flotilla_cluster::{Agent, Cluster, Lease, ProbeAnswer, Status, SubmitError, Submitted, Unavailable};
use flotilla_model::{Command, CommandId, LogIndex, NodeId, SessionId, State};
use futures::future::join_all;
use openraft::Instant;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::net::Peers;
use crate::propose::Proposer;
use crate::read::{Purpose, Reads};
use crate::shared::Shared;
use crate::types::Raft;

/// A login elsewhere waits 2 s for a probe (`PROTOCOL.md` 2.5), and half a second for the way.
const PROBE_WITHIN: Duration = Duration::from_millis(2_500);
const TRANSFER_LOOK: Duration = Duration::from_millis(50);

/// Cheap to clone; all clones are one node.
#[derive(Clone)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) raft: Raft,
    pub(crate) proposer: Proposer,
    pub(crate) reads: Reads,
    pub(crate) peers: Arc<Peers>,
    pub(crate) runtime: tokio::runtime::Handle,
}

impl Handle {
    /// Moves leadership to another voter, if this node leads. Whether it does not lead any more.
    pub async fn transfer_leadership(&self, within: Duration) -> bool {
        let handle = self.clone();
        let moved = self.runtime.spawn(async move { timeout(within, handle.step_aside()).await.is_ok() });
        moved.await.unwrap_or(false)
    }

    async fn step_aside(&self) {
        let mut leadership = self.shared.leadership.subscribe();
        while leadership.borrow_and_update().leader == Some(self.shared.node) {
            if let Some(next) = self.most_advanced_peer() {
                let _ = self.raft.trigger().transfer_leader(next).await;
            }
            let _ = timeout(TRANSFER_LOOK * 10, leadership.changed()).await;
        }
    }

    /// The voter whose log reaches furthest.
    fn most_advanced_peer(&self) -> Option<u64> {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let voters: Vec<u64> = metrics.membership_config.membership().voter_ids().collect();
        let progress = metrics.replication?;
        voters
            .into_iter()
            .filter(|voter| *voter != self.shared.node.0)
            .max_by_key(|voter| progress.get(voter).cloned().flatten().map(|id| id.index))
    }

    /// Waits until a leader is known.
    pub async fn wait_for_leader(&self, within: Duration) -> Option<NodeId> {
        let mut leadership = self.shared.leadership.subscribe();
        let found = timeout(within, leadership.wait_for(|leadership| leadership.leader.is_some())).await;
        found.ok()?.ok()?.leader
    }

    /// Waits until this node holds a lease.
    pub async fn wait_for_lease(&self, within: Duration) -> Option<Arc<Lease>> {
        let mut lease = self.shared.lease.subscribe();
        let alive = |lease: &Option<Arc<Lease>>| lease.as_ref().is_some_and(|lease| !lease.is_dead());
        timeout(within, lease.wait_for(alive)).await.ok()?.ok()?.clone()
    }

    /// The last peer's refusal of this node at hello, for instance because its store was set back.
    pub fn peer_refusal(&self) -> watch::Receiver<Option<String>> {
        self.peers.us().refused.subscribe()
    }

    /// Why consensus has stopped on this node for good, once it has: its store failed. The process should end.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.shared.failed.subscribe()
    }

    /// Writes a snapshot now; returns when it was asked for, not when it is written.
    pub async fn write_snapshot(&self) -> bool {
        self.raft.trigger().snapshot().await.is_ok()
    }

    /// Whether the engine's loop answers; for a watchdog, which gives it a time limit.
    pub async fn is_responsive(&self) -> bool {
        let raft = self.raft.clone();
        let asked = self.runtime.spawn(async move { raft.with_raft_state(|_| ()).await.is_ok() });
        asked.await.unwrap_or(false)
    }

    fn trouble(&self) -> Vec<String> {
        let failed = self.shared.failed.borrow().clone().map(|why| format!("consensus has stopped: {why}"));
        failed.into_iter().chain(self.peers.us().refused.borrow().clone()).collect()
    }

    async fn confirm(&self, node: NodeId, index: LogIndex, within: Duration) -> bool {
        if node == self.shared.node {
            let mut applied = self.shared.applied();
            return matches!(timeout(within, applied.wait_for(|applied| *applied >= index)).await, Ok(Ok(_)));
        }
        let asking = async {
            while !self.peers.cuts_effective(node, index, within).await.unwrap_or(false) {
                sleep(TRANSFER_LOOK).await;
            }
        };
        timeout(within, asking).await.is_ok()
    }
}

#[async_trait]
impl Cluster for Handle {
    fn node(&self) -> NodeId {
        self.shared.node
    }

    fn state(&self) -> Arc<State> {
        self.shared.state()
    }

    fn applied(&self) -> watch::Receiver<LogIndex> {
        self.shared.applied()
    }

    fn lease(&self) -> Option<Arc<Lease>> {
        self.shared.lease.borrow().clone()
    }

    fn lease_changes(&self) -> watch::Receiver<Option<Arc<Lease>>> {
        self.shared.lease.subscribe()
    }

    async fn submit(
        &self,
        id: CommandId,
        actor: &str,
        command: Command,
        deadline: Duration,
    ) -> Result<Submitted, SubmitError> {
        self.proposer.submit(id, actor, command, deadline).await
    }

    async fn barrier(&self, deadline: Duration) -> Result<LogIndex, Unavailable> {
        self.reads.barrier(Purpose::Read, deadline).await
    }

    async fn refusal_barrier(&self, deadline: Duration) -> Result<LogIndex, Unavailable> {
        self.reads.barrier(Purpose::Refusal, deadline).await
    }

    fn status(&self) -> Status {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let quorum_ack = metrics.last_quorum_acked.map(|at| at.elapsed().as_millis() as u64);
        Status {
            node: self.shared.node,
            leader: metrics.current_leader.map(NodeId),
            term: metrics.current_term,
            last_log_index: metrics.last_log_index.unwrap_or(0),
            applied_index: self.shared.applied_index(),
            voters: membership.voter_ids().map(NodeId).collect(),
            learners: membership.learner_ids().map(NodeId).collect(),
            quorum_ack_age_ms: quorum_ack,
            caught_up: self.shared.caught_up.load(Ordering::Acquire),
            trouble: self.trouble(),
        }
    }

    fn set_agent(&self, agent: Arc<dyn Agent>) {
        self.shared.set_agent(agent);
    }

    async fn cuts_effective(&self, nodes: &[NodeId], index: LogIndex, deadline: Duration) -> Vec<NodeId> {
        let asked = nodes.iter().map(|node| async { (*node, self.confirm(*node, index, deadline).await) });
        join_all(asked).await.into_iter().filter(|(_, confirmed)| !confirmed).map(|(node, _)| node).collect()
    }

    async fn probe(&self, node: NodeId, sessions: Vec<SessionId>) -> Option<Vec<ProbeAnswer>> {
        if node != self.shared.node {
            return self.peers.probe(node, sessions, PROBE_WITHIN).await.ok().flatten();
        }
        let agent = self.shared.agent()?;
        timeout(PROBE_WITHIN, agent.probe(sessions)).await.ok()
    }
}
