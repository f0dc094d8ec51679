//! A cluster of one, in memory: the real state machine without consensus. For tests of the crates above.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use flotilla_model::command::*;
use flotilla_model::*;
use tokio::sync::watch;

use crate::{
    ActiveTransfer, Agent, Changed, Clock, Cluster, Lease, ProbeAnswer, Status, SubmitError, Submitted, SystemClock,
    Unavailable,
};

/// Applies each command at once, on the caller's thread. Its lease is renewed by `renew`, not by itself.
pub struct LocalCluster {
    node: NodeId,
    clock: Arc<dyn Clock>,
    /// Read without a lock, as on a real node: the agent may hold locks of its own under which others look at the state.
    state: ArcSwap<State>,
    /// The last index; held while a command is applied.
    last: Mutex<LogIndex>,
    applied: watch::Sender<LogIndex>,
    lease: watch::Sender<Option<Arc<Lease>>>,
    agent: OnceLock<Arc<dyn Agent>>,
}

impl LocalCluster {
    /// An initialised cluster with node 1, registered.
    pub fn start() -> Arc<Self> {
        Self::start_with(Arc::new(SystemClock))
    }

    pub fn start_with(clock: Arc<dyn Clock>) -> Arc<Self> {
        let node = NodeId(1);
        let cluster = Arc::new(LocalCluster {
            node,
            clock,
            state: ArcSwap::default(),
            last: Mutex::new(0),
            applied: watch::Sender::new(0),
            lease: watch::Sender::new(None),
            agent: OnceLock::new(),
        });
        cluster.apply(Command::InitCluster(InitCluster { cluster_id: "local".into() }));
        cluster.apply(Command::PutNode(PutNode {
            public_key: Vec::new(),
            node,
            name: "node1".into(),
            peer_address: "127.0.0.1:7982".into(),
            admin_address: "127.0.0.1:8080".into(),
            sftp_address: "127.0.0.1:2022".into(),
        }));
        cluster.register();
        cluster
    }

    /// Ends the node's epoch, if it has one, and registers anew.
    pub fn register(&self) {
        if let Some(old) = self.lease() {
            old.kill();
        }
        let replaces = self.state().node(self.node).map_or(Epoch(0), |node| node.last_epoch);
        let sent = self.clock.now();
        let command = RegisterNode {
            store: 1,
            nonce: 1,
            node: self.node,
            start: replaces.0 + 1,
            replaces,
            version: "test".into(),
        };
        let submitted = self.apply(Command::RegisterNode(command));
        let epoch = Epoch(submitted.index);
        self.lease.send_replace(Some(Arc::new(Lease::new(self.node, epoch, Arc::clone(&self.clock), sent))));
    }

    /// Extends the lease from now, as an applied renewal would.
    pub fn renew(&self) {
        if let Some(lease) = self.lease() {
            lease.extend(self.clock.now());
        }
    }

    /// Applies a command of the leader or of administration.
    pub fn apply(&self, command: Command) -> Submitted {
        self.apply_as(CommandId::Unnumbered, "test", command)
    }

    pub fn apply_as(&self, id: CommandId, actor: &str, command: Command) -> Submitted {
        let mut last = self.last.lock().expect("no panic while applying");
        let mut state = State::clone(&self.state());
        let index = *last + 1;
        let wall =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        let entry = Entry {
            time: LogTime(self.clock.now().boot / 1_000_000),
            wall: WallTime(wall),
            commands: vec![Envelope { id, actor: actor.into(), command }],
        };
        let applied = state.apply(index, &entry);
        let state = Arc::new(state);
        *last = index;
        self.state.store(Arc::clone(&state));
        if let Some(agent) = self.agent.get() {
            agent.reconcile(&state, &Changed::Rows(applied.effects));
        }
        self.applied.send_replace(index);
        let reply = applied.replies.into_iter().next().expect("one reply per command");
        if let (CommandId::Node { number, .. }, Some(lease)) = (id, self.lease()) {
            lease.answered(number);
        }
        Submitted { index, reply }
    }
}

#[async_trait]
impl Cluster for LocalCluster {
    fn node(&self) -> NodeId {
        self.node
    }
    fn state(&self) -> Arc<State> {
        self.state.load_full()
    }
    fn applied(&self) -> watch::Receiver<LogIndex> {
        self.applied.subscribe()
    }
    fn lease(&self) -> Option<Arc<Lease>> {
        self.lease.borrow().clone()
    }
    fn lease_changes(&self) -> watch::Receiver<Option<Arc<Lease>>> {
        self.lease.subscribe()
    }
    async fn submit(
        &self,
        id: CommandId,
        actor: &str,
        command: Command,
        _deadline: Duration,
    ) -> Result<Submitted, SubmitError> {
        Ok(self.apply_as(id, actor, command))
    }
    async fn barrier(&self, _deadline: Duration) -> Result<LogIndex, Unavailable> {
        Ok(self.state().applied_index())
    }
    fn status(&self) -> Status {
        let applied_index = self.state().applied_index();
        Status {
            node: self.node,
            leader: Some(self.node),
            term: 1,
            last_log_index: applied_index,
            applied_index,
            voters: vec![self.node],
            learners: Vec::new(),
            quorum_ack_age_ms: Some(0),
            caught_up: true,
            trouble: Vec::new(),
        }
    }
    fn set_agent(&self, agent: Arc<dyn Agent>) {
        agent.reconcile(&self.state(), &Changed::Everything);
        let _ = self.agent.set(agent);
    }
    async fn cuts_effective(&self, _nodes: &[NodeId], _index: LogIndex, _deadline: Duration) -> Vec<NodeId> {
        Vec::new()
    }
    async fn transfers(&self, node: NodeId, _deadline: Duration) -> Option<Vec<ActiveTransfer>> {
        self.agent.get().filter(|_| node == self.node()).map(|agent| agent.transfers())
    }

    async fn probe(&self, _node: NodeId, sessions: Vec<SessionId>) -> Option<Vec<ProbeAnswer>> {
        match self.agent.get() {
            Some(agent) => Some(agent.probe(sessions).await),
            None => None,
        }
    }
}
