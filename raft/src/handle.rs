//! The cluster as the rest of the node sees it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use flotilla_cluster::{
    ActiveTransfer, Agent, Cluster, Lease, ManageError, ProbeAnswer, Status, SubmitError, Submitted, Unavailable,
};
use flotilla_model::{Command, CommandId, LogIndex, NodeId, SessionId, State};
use futures::future::join_all;
use openraft::Instant;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::manage::Manager;
use crate::net::{CallError, Desk, Manage, Managed, Peers, Tls};
use crate::propose::Proposer;
use crate::read::{Purpose, Reads};
use crate::roster::Roster;
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
    pub(crate) tls: Tls,
    pub(crate) manager: Manager,
}

impl Handle {
    /// Moves leadership to another voter, if this node leads. Whether it does not lead any more.
    pub async fn transfer_leadership(&self, within: Duration) -> bool {
        if self.shared.leader() != Some(self.shared.node) {
            return true;
        }
        let manager = self.manager.clone();
        let moved = self.runtime.spawn(async move { manager.transfer(None, within).await });
        matches!(moved.await, Ok(Managed::Leads(_)))
    }

    /// Turns true when an operator asks this node to drain.
    pub fn drain_asked(&self) -> watch::Receiver<bool> {
        self.manager.drain.subscribe()
    }

    /// Gives a cluster key to the other members; returns those that have it.
    pub async fn offer_key(&self, key: &str, within: Duration) -> Vec<NodeId> {
        let offers = self.others().into_iter().map(|node| async move {
            let question = Manage::OfferKey(key.to_owned());
            let answer = self.ask(node, question, within).await;
            matches!(answer, Ok(Managed::Done)).then_some(node)
        });
        join_all(offers).await.into_iter().flatten().collect()
    }

    /// The cluster keys that the other members have.
    pub async fn fetch_keys(&self, within: Duration) -> Vec<String> {
        let answers = self.others().into_iter().map(|node| self.ask(node, Manage::Keys, within));
        let answers = join_all(answers).await.into_iter();
        answers.filter_map(|answer| if let Ok(Managed::Keys(keys)) = answer { Some(keys) } else { None }).collect()
    }

    fn others(&self) -> Vec<NodeId> {
        let members = self.roster();
        members.members.keys().copied().filter(|node| *node != self.shared.node).collect()
    }

    async fn ask(&self, node: NodeId, question: Manage, within: Duration) -> Result<Managed, ManageError> {
        if node == self.shared.node {
            return Ok(self.manager.answer(node, question).await);
        }
        let unavailable = |error: CallError| ManageError::Unavailable(format!("node {node} does not answer: {error}"));
        self.peers.manage(node, &question, within).await.map_err(unavailable)
    }

    /// Who answers `Join` from now on. Once.
    pub fn set_desk(&self, desk: Arc<dyn Desk>) {
        let _ = self.manager.desk.set(desk);
    }

    /// The members with their keys, as peers are judged by now.
    pub fn roster(&self) -> Arc<Roster> {
        self.shared.rosters.now()
    }

    /// The certificate that peers are shown now, PEM.
    pub fn certificate(&self) -> String {
        self.tls.certificate()
    }

    /// Shows this certificate (of the same key) on new connections.
    pub fn replace_certificate(&self, certificate_pem: &str) -> Result<(), String> {
        self.tls.replace_certificate(certificate_pem).map_err(|error| error.to_string())
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

    async fn transfer(&self, to: Option<NodeId>, deadline: Duration) -> Result<NodeId, ManageError> {
        let none = || ManageError::Unavailable("no leader is known: there is no quorum, or an election".to_owned());
        let leader = self.wait_for_leader(deadline).await.ok_or_else(none)?;
        if to == Some(leader) {
            return Ok(leader);
        }
        let question = Manage::Transfer { to, within_ms: deadline.as_millis() as u64 };
        match self.ask(leader, question, deadline + TRANSFER_LOOK).await? {
            Managed::Leads(leader) => Ok(leader),
            Managed::Refused(why) => Err(ManageError::Refused(why)),
            _ => Err(ManageError::Refused("the leader gave an answer to another question".to_owned())),
        }
    }

    async fn drain(&self, node: NodeId, deadline: Duration) -> Result<(), ManageError> {
        match self.ask(node, Manage::Drain, deadline).await? {
            Managed::Refused(why) => Err(ManageError::Refused(why)),
            _ => Ok(()),
        }
    }

    async fn transfers(&self, node: NodeId, deadline: Duration) -> Option<Vec<ActiveTransfer>> {
        match self.ask(node, Manage::Transfers, deadline).await {
            Ok(Managed::Transfers(told)) => Some(told),
            _ => None,
        }
    }

    async fn probe(&self, node: NodeId, sessions: Vec<SessionId>) -> Option<Vec<ProbeAnswer>> {
        if node != self.shared.node {
            return self.peers.probe(node, sessions, PROBE_WITHIN).await.ok().flatten();
        }
        let agent = self.shared.agent()?;
        timeout(PROBE_WITHIN, agent.probe(sessions)).await.ok()
    }
}
