//! The in-memory cluster with switches: no quorum, lost answers, nodes that do not confirm a cut.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use flotilla_cluster::{
    ActiveTransfer, Agent, Cluster, Lease, LocalCluster, ManageError, ProbeAnswer, Status, SubmitError, Submitted,
    Unavailable,
};
use flotilla_model::{Command, CommandId, LogIndex, NodeId, SessionId, State};
use tokio::sync::watch;

pub struct Switched {
    pub local: Arc<LocalCluster>,
    pub no_quorum: AtomicBool,
    /// Changes are applied, their answers are lost.
    pub lose_answers: AtomicBool,
    /// Nodes that do not confirm a cut.
    pub unconfirmed: Mutex<Vec<NodeId>>,
    /// What `cuts_effective` was asked for last.
    pub asked: Mutex<Vec<NodeId>>,
    /// What the node's sessions transfer; `None`: it does not answer.
    pub transfers: Mutex<Option<Vec<ActiveTransfer>>>,
    /// Voters and learners, where they are not this node alone.
    pub members: Mutex<Option<(Vec<NodeId>, Vec<NodeId>)>>,
    /// How many read barriers were waited for.
    pub barriers: watch::Sender<u64>,
    /// What is applied right behind one of the next looks at the state: so many are still before it.
    pub behind_look: Mutex<Option<(u32, Command)>>,
}

impl Switched {
    pub fn start() -> Arc<Switched> {
        Arc::new(Switched {
            local: LocalCluster::start(),
            no_quorum: AtomicBool::new(false),
            lose_answers: AtomicBool::new(false),
            unconfirmed: Mutex::default(),
            asked: Mutex::default(),
            transfers: Mutex::new(Some(Vec::new())),
            members: Mutex::default(),
            barriers: watch::Sender::new(0),
            behind_look: Mutex::default(),
        })
    }

    fn has_quorum(&self) -> Result<(), Unavailable> {
        if self.no_quorum.load(Ordering::Acquire) { Err(Unavailable("switched off".into())) } else { Ok(()) }
    }
}

#[async_trait]
impl Cluster for Switched {
    fn node(&self) -> NodeId {
        self.local.node()
    }
    fn state(&self) -> Arc<State> {
        let state = self.local.state();
        let mut behind = self.behind_look.lock().expect("no panic while held");
        match behind.take() {
            Some((0, command)) => _ = self.local.apply(command),
            Some((before, command)) => *behind = Some((before - 1, command)),
            None => {}
        }
        state
    }
    fn applied(&self) -> watch::Receiver<LogIndex> {
        self.local.applied()
    }
    fn lease(&self) -> Option<Arc<Lease>> {
        self.local.lease()
    }
    fn lease_changes(&self) -> watch::Receiver<Option<Arc<Lease>>> {
        self.local.lease_changes()
    }
    async fn submit(
        &self,
        id: CommandId,
        actor: &str,
        command: Command,
        deadline: Duration,
    ) -> Result<Submitted, SubmitError> {
        self.has_quorum().map_err(|error| SubmitError::Unavailable(error.0))?;
        let answer = self.local.submit(id, actor, command, deadline).await;
        if self.lose_answers.load(Ordering::Acquire) {
            return Err(SubmitError::Unknown("switched off".into()));
        }
        answer
    }
    async fn barrier(&self, deadline: Duration) -> Result<LogIndex, Unavailable> {
        self.has_quorum()?;
        self.barriers.send_modify(|count| *count += 1);
        self.local.barrier(deadline).await
    }
    fn status(&self) -> Status {
        let leader = self.has_quorum().is_ok().then(|| self.local.node());
        let status = Status { leader, ..self.local.status() };
        match self.members.lock().expect("no panic while held").clone() {
            // Who is alive has caught up.
            Some((voters, learners)) => Status { voters, learners, last_log_index: 0, ..status },
            None => status,
        }
    }
    fn set_agent(&self, agent: Arc<dyn Agent>) {
        self.local.set_agent(agent);
    }
    async fn cuts_effective(&self, nodes: &[NodeId], _index: LogIndex, _deadline: Duration) -> Vec<NodeId> {
        *self.asked.lock().expect("no panic while held") = nodes.to_vec();
        let silent = self.unconfirmed.lock().expect("no panic while held");
        nodes.iter().filter(|node| silent.contains(node)).copied().collect()
    }
    async fn transfers(&self, _node: NodeId, _deadline: Duration) -> Option<Vec<ActiveTransfer>> {
        self.transfers.lock().expect("no panic while held").clone()
    }
    async fn transfer(&self, to: Option<NodeId>, _deadline: Duration) -> Result<NodeId, ManageError> {
        Ok(to.unwrap_or(self.local.node()))
    }
    async fn drain(&self, _node: NodeId, _deadline: Duration) -> Result<(), ManageError> {
        Ok(())
    }
    async fn probe(&self, node: NodeId, sessions: Vec<SessionId>) -> Option<Vec<ProbeAnswer>> {
        self.local.probe(node, sessions).await
    }
}
