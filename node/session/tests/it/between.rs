//! A cluster that lags, loses answers, or has no quorum, as a test tells it. The decisions are the real state's.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use flotilla_cluster::*;
use flotilla_model::{Command, CommandId, LogIndex, NodeId, SessionId, State};
use tokio::sync::{Semaphore, watch};

/// Comes before and behind each command.
pub type Rival = Box<dyn FnMut(Moment) + Send>;

pub struct Between {
    pub inner: Arc<LocalCluster>,
    /// What the node sees until it applies or reads something newer.
    stale: Mutex<Option<Arc<State>>>,
    pub no_quorum: AtomicBool,
    /// Commands that are applied but whose answer is lost.
    pub lose_answers: AtomicU32,
    /// Answers of opens are held back until a permit is there.
    pub hold: Mutex<Option<Arc<Semaphore>>>,
    /// What another does right before each ask for a further slot is applied, and right behind it. With it an ask takes a while.
    pub rival: Mutex<Option<Rival>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Before,
    Behind,
}

impl Between {
    pub fn new(inner: Arc<LocalCluster>) -> Arc<Self> {
        Arc::new(Between {
            inner,
            stale: Mutex::new(None),
            no_quorum: AtomicBool::new(false),
            lose_answers: AtomicU32::new(0),
            hold: Mutex::new(None),
            rival: Mutex::new(None),
        })
    }

    /// From now on the node sees the state as it is now, until it must see a newer one.
    pub fn lag(&self) {
        *self.stale.lock().unwrap() = Some(self.inner.state());
    }

    fn catch_up(&self) {
        *self.stale.lock().unwrap() = None;
    }

    pub fn hold_answers(&self) -> Arc<Semaphore> {
        let hold = Arc::new(Semaphore::new(0));
        *self.hold.lock().unwrap() = Some(Arc::clone(&hold));
        hold
    }

    fn let_rival_act(&self, command: &Command, moment: Moment) {
        if let (Command::AddSlot(_), Some(act)) = (command, self.rival.lock().unwrap().as_mut()) {
            act(moment);
        }
    }
}

#[async_trait]
impl Cluster for Between {
    fn node(&self) -> NodeId {
        self.inner.node()
    }
    fn state(&self) -> Arc<State> {
        self.stale.lock().unwrap().clone().unwrap_or_else(|| self.inner.state())
    }
    fn applied(&self) -> watch::Receiver<LogIndex> {
        self.inner.applied()
    }
    fn lease(&self) -> Option<Arc<Lease>> {
        self.inner.lease()
    }
    fn lease_changes(&self) -> watch::Receiver<Option<Arc<Lease>>> {
        self.inner.lease_changes()
    }
    async fn submit(
        &self,
        id: CommandId,
        actor: &str,
        command: Command,
        deadline: Duration,
    ) -> Result<Submitted, SubmitError> {
        if self.no_quorum.load(Ordering::SeqCst) {
            return Err(SubmitError::Unavailable("no leader".into()));
        }
        let is_open = matches!(command, Command::OpenSession(_));
        if matches!(command, Command::AddSlot(_)) && self.rival.lock().unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.let_rival_act(&command, Moment::Before);
        let submitted = self.inner.submit(id, actor, command.clone(), deadline).await?;
        self.let_rival_act(&command, Moment::Behind);
        self.catch_up();
        let hold = self.hold.lock().unwrap().clone().filter(|_| is_open);
        if let Some(hold) = hold {
            hold.acquire().await.unwrap().forget();
        }
        let less = |left: u32| left.checked_sub(1);
        if is_open && self.lose_answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            return Err(SubmitError::Unknown("the answer was lost".into()));
        }
        Ok(submitted)
    }
    async fn barrier(&self, deadline: Duration) -> Result<LogIndex, Unavailable> {
        if self.no_quorum.load(Ordering::SeqCst) {
            return Err(Unavailable("no leader".into()));
        }
        self.catch_up();
        self.inner.barrier(deadline).await
    }
    fn status(&self) -> Status {
        self.inner.status()
    }
    fn set_agent(&self, agent: Arc<dyn Agent>) {
        self.inner.set_agent(agent);
    }
    async fn cuts_effective(&self, nodes: &[NodeId], index: LogIndex, deadline: Duration) -> Vec<NodeId> {
        self.inner.cuts_effective(nodes, index, deadline).await
    }
    /// Other nodes are out of reach.
    async fn probe(&self, node: NodeId, sessions: Vec<SessionId>) -> Option<Vec<ProbeAnswer>> {
        if node == self.node() { self.inner.probe(node, sessions).await } else { None }
    }
}
