//! Several nodes over one real state, in one process and in virtual time: each sees the log later than it was applied, answers get lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use flotilla_cluster::*;
use flotilla_model::command::*;
use flotilla_model::*;
use flotilla_session::ledger::{AccountHandle, Entering, Ledger, LedgerConfig, Progress};
use flotilla_vfs::{GuardRef, Marker, Storage, Usage, UsageInUse, VfsError, VfsResult};
use tokio::sync::{mpsc, watch};

/// A seeded generator: xorshift.
pub struct Dice(Mutex<u64>);

impl Dice {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Dice(Mutex::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)))
    }
    pub fn roll(&self, sides: u64) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 11) % sides
    }
    pub async fn pause(&self, most_us: u64) {
        tokio::time::sleep(Duration::from_micros(self.roll(most_us.max(1)))).await;
    }
}

/// Clocks that stand still: leases end only when a test ends them.
struct StoppedClock;
impl Clock for StoppedClock {
    fn now(&self) -> Clocks {
        Clocks { boot: 1, raw: 1 }
    }
}

/// What is on the shared storage, by the truth of the tests.
#[derive(Default)]
pub struct Disk {
    pub stored: Mutex<BTreeMap<u64, Usage>>,
    pub fenced: Mutex<BTreeSet<(u64, u64)>>,
    pub scans: Mutex<u32>,
}

struct DiskStorage(Arc<Disk>, flotilla_vfs::Capability);

#[async_trait]
impl Storage for DiskStorage {
    fn name(&self) -> &str {
        "files"
    }
    fn capability(&self) -> &flotilla_vfs::Capability {
        &self.1
    }
    async fn read_marker(&self) -> VfsResult<Option<Marker>> {
        Ok(None)
    }
    async fn write_marker(&self, _marker: &Marker) -> VfsResult<()> {
        Ok(())
    }
    async fn open_root_as(
        &self,
        _path: &str,
        _account: u64,
        _owner: flotilla_vfs::Owner,
    ) -> VfsResult<Arc<dyn flotilla_vfs::Root>> {
        Err(VfsError::Unsupported("no roots in this test"))
    }
    async fn is_root_used(&self, _path: &str) -> VfsResult<bool> {
        Ok(self.0.stored.lock().unwrap().values().any(|usage| usage.files > 0))
    }
    async fn fence(&self, account: u64, epoch: u64, _guard: &GuardRef) -> VfsResult<()> {
        self.0.fenced.lock().unwrap().insert((account, epoch));
        Ok(())
    }
    async fn sweep(&self, _account: u64, _is_over: flotilla_vfs::IsOver, _guard: &GuardRef) -> VfsResult<bool> {
        Ok(false)
    }
    async fn scan(&self, _path: &str, account: u64, _guard: &GuardRef) -> VfsResult<Usage> {
        *self.0.scans.lock().unwrap() += 1;
        Ok(self.0.stored.lock().unwrap().get(&account).copied().unwrap_or_default())
    }
    async fn scan_in_use(&self, path: &str, account: u64, guard: &GuardRef) -> VfsResult<UsageInUse> {
        Ok(UsageInUse { all: self.scan(path, account, guard).await?, staged: Usage::default() })
    }
}

/// The log: one state, applied entry by entry, handed to all nodes.
pub struct Fleet {
    pub dice: Arc<Dice>,
    log: Mutex<(Arc<State>, LogIndex)>,
    pub nodes: Vec<Arc<FleetNode>>,
    pub disk: Arc<Disk>,
    /// What a limit is held against must never exceed this.
    pub most_taken: Mutex<Amount>,
    pub commands: Mutex<BTreeMap<&'static str, u64>>,
}

/// One node: its view of the log and its ledger.
pub struct FleetNode {
    pub id: NodeId,
    fleet: OnceLock<std::sync::Weak<Fleet>>,
    view: Mutex<Arc<State>>,
    applied: watch::Sender<LogIndex>,
    lease: watch::Sender<Option<Arc<Lease>>>,
    agent: OnceLock<Arc<dyn Agent>>,
    inbox: mpsc::UnboundedSender<(Arc<State>, Vec<Effect>)>,
    pub ledger: OnceLock<Ledger>,
}

struct LedgerAgent(Ledger);

#[async_trait]
impl Agent for LedgerAgent {
    fn reconcile(&self, state: &Arc<State>, changed: &Changed) {
        self.0.reconcile(state, changed);
    }
    async fn probe(&self, _sessions: Vec<SessionId>) -> Vec<ProbeAnswer> {
        Vec::new()
    }
}

pub fn name(text: &str) -> Username {
    Username::parse(text).unwrap()
}

pub fn spec(home: &str, quota_size: u64, quota_files: u64) -> UserSpec {
    UserSpec {
        status: flotilla_model::Status::Enabled,
        expiration_date: 0,
        password_hash: None,
        public_keys: vec!["ssh-ed25519 AAAA one".into()],
        home: Root::new(StorageName::parse("files").unwrap(), home).unwrap(),
        uid: 0,
        gid: 0,
        max_sessions: 0,
        quota_size,
        quota_files,
        permissions: BTreeMap::from([("/".into(), vec![Permission::Any])]),
        upload_bandwidth: 0,
        download_bandwidth: 0,
        filters: Filters::default(),
        email: String::new(),
        description: String::new(),
        additional_info: String::new(),
        groups: Vec::new(),
        role: None,
    }
}

impl Fleet {
    pub fn start(seed: u64, nodes: u64) -> Arc<Self> {
        Self::start_with(seed, nodes, LedgerConfig { scans: false, ..LedgerConfig::default() })
    }

    pub fn start_with(seed: u64, nodes: u64, config: LedgerConfig) -> Arc<Self> {
        let fleet = Self::bare(seed, nodes);
        for node in &fleet.nodes {
            let capability = flotilla_vfs::Capability {
                exchange: true,
                no_replace: true,
                hard_links: true,
                birth_time: true,
                case_folding: false,
                symlinks: true,
                random_writes: true,
            };
            let storage: Arc<dyn Storage> = Arc::new(DiskStorage(Arc::clone(&fleet.disk), capability));
            let storages = BTreeMap::from([("files".to_owned(), storage)]);
            let ledger = Ledger::start(Arc::clone(node) as Arc<dyn Cluster>, storages, config.clone());
            node.set_agent(Arc::new(LedgerAgent(ledger.clone())));
            let _ = node.ledger.set(ledger);
        }
        fleet
    }

    /// Nodes that are registered and have nobody who acts for them.
    pub fn bare(seed: u64, nodes: u64) -> Arc<Self> {
        let dice = Dice::new(seed);
        let nodes: Vec<Arc<FleetNode>> = (1..=nodes).map(|id| FleetNode::new(NodeId(id), Arc::clone(&dice))).collect();
        let fleet = Arc::new(Fleet {
            dice,
            log: Mutex::new((Arc::new(State::default()), 0)),
            nodes,
            disk: Arc::default(),
            most_taken: Mutex::default(),
            commands: Mutex::default(),
        });
        fleet.admin(Command::InitCluster(InitCluster { cluster_id: "test".into() })).unwrap();
        for node in &fleet.nodes {
            let _ = node.fleet.set(Arc::downgrade(&fleet));
            let (peer_address, admin_address, sftp_address) = Default::default();
            let put = PutNode {
                public_key: Vec::new(),
                node: node.id,
                name: format!("node{}", node.id),
                peer_address,
                admin_address,
                sftp_address,
            };
            let _ = fleet.admin(Command::PutNode(put));
            fleet.register(node, 1);
        }
        fleet
    }

    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.log.lock().unwrap().0)
    }

    pub fn register(&self, node: &FleetNode, start: u64) {
        let replaces = self.state().node(node.id).map_or(Epoch(0), |row| row.last_epoch);
        let command = RegisterNode { store: 1, nonce: 1, node: node.id, start, replaces, version: "test".into() };
        let (index, reply) = self.apply(CommandId::Unnumbered, Command::RegisterNode(command));
        reply.unwrap();
        let clock: Arc<dyn Clock> = Arc::new(StoppedClock);
        let lease = Lease::new(node.id, Epoch(index), clock, Clocks { boot: 1, raw: 1 });
        node.lease.send_replace(Some(Arc::new(lease)));
    }

    /// Ends a node's epoch; its lease object dies with it.
    pub fn expire(&self, node: &FleetNode) {
        let lease = node.lease().unwrap();
        lease.kill();
        let state = self.state();
        let row = state.node(node.id).unwrap();
        let expire = Expire { node: node.id, epoch: lease.epoch(), last_renewal: row.renewal };
        self.admin(Command::Expire(expire)).unwrap();
    }

    pub fn admin(&self, command: Command) -> Reply {
        self.apply(CommandId::Unnumbered, command).1
    }

    fn apply(&self, id: CommandId, command: Command) -> (LogIndex, Reply) {
        let mut log = self.log.lock().unwrap();
        let mut state = State::clone(&log.0);
        let index = log.1 + 1;
        if let Command::Account(command) = &command {
            *self.commands.lock().unwrap().entry(verb(command)).or_default() += 1;
        }
        let envelope = Envelope { id, actor: "test".into(), command };
        let entry = Entry { time: LogTime(index), wall: WallTime(1_700_000_000_000), commands: vec![envelope] };
        let applied = state.apply(index, &entry);
        let state = Arc::new(state);
        *log = (Arc::clone(&state), index);
        for row in state.accounts() {
            let mut most = self.most_taken.lock().unwrap();
            *most = most.max_each(row.taken());
        }
        for node in &self.nodes {
            let _ = node.inbox.send((Arc::clone(&state), applied.effects.clone()));
        }
        (index, applied.replies.into_iter().next().unwrap())
    }

    pub fn create(&self, username: &str, quota_size: u64, quota_files: u64) {
        let create = CreateUser { username: name(username), spec: spec("home", quota_size, quota_files) };
        self.admin(Command::CreateUser(create)).unwrap();
    }

    pub fn account(&self, username: &str) -> Arc<Account> {
        let state = self.state();
        let user = state.user(&name(username)).unwrap();
        Arc::clone(state.account(user.account).unwrap())
    }

    /// The limit was held at every index, and what is settled is what is stored.
    pub fn assert_taken_within(&self, limit: Amount) {
        let most = *self.most_taken.lock().unwrap();
        assert!(most.fits(limit), "{most:?} was taken of {limit:?}");
    }
}

fn verb(command: &AccountCommand) -> &'static str {
    match command {
        AccountCommand::Grant(_) => "grant",
        AccountCommand::Settle(_) => "settle",
        AccountCommand::Answer(_) => "answer",
        AccountCommand::WaitOver(_) => "wait_over",
        AccountCommand::Confirm(_) => "confirm",
        AccountCommand::SettleDead(_) => "settle_dead",
        AccountCommand::Fenced(_) => "fenced",
        AccountCommand::Inspected(_) => "inspected",
        AccountCommand::ScanBegin(_) => "scan_begin",
        AccountCommand::ScanCommit(_) => "scan_commit",
        AccountCommand::ScanConfirm(_) => "scan_confirm",
        AccountCommand::ScanWalked(_) => "scan_walked",
        AccountCommand::ScanReport(_) => "scan_report",
        AccountCommand::ScanGiveUp(_) => "scan_give_up",
        AccountCommand::WantScan { .. } => "want_scan",
    }
}

impl FleetNode {
    fn new(id: NodeId, dice: Arc<Dice>) -> Arc<Self> {
        let (inbox, mut mail) = mpsc::unbounded_channel::<(Arc<State>, Vec<Effect>)>();
        let node = Arc::new(FleetNode {
            id,
            fleet: OnceLock::new(),
            view: Mutex::default(),
            applied: watch::Sender::new(0),
            lease: watch::Sender::new(None),
            agent: OnceLock::new(),
            inbox,
            ledger: OnceLock::new(),
        });
        let weak = Arc::downgrade(&node);
        tokio::spawn(async move {
            while let Some((state, effects)) = mail.recv().await {
                dice.pause(1_500).await;
                let Some(node) = weak.upgrade() else { return };
                let index = state.applied_index();
                *node.view.lock().unwrap() = Arc::clone(&state);
                if let Some(agent) = node.agent.get() {
                    agent.reconcile(&state, &Changed::Rows(effects));
                }
                node.applied.send_replace(index);
            }
        });
        node
    }

    fn fleet(&self) -> Arc<Fleet> {
        self.fleet.get().and_then(std::sync::Weak::upgrade).expect("the fleet outlives its nodes")
    }

    pub fn ledger(&self) -> &Ledger {
        self.ledger.get().unwrap()
    }

    /// Opens a session and enters its account.
    pub async fn open(self: &Arc<Self>, username: &str) -> (SessionId, AccountHandle) {
        self.open_with(username, Arc::default()).await
    }

    pub async fn open_with(self: &Arc<Self>, username: &str, progress: Arc<Progress>) -> (SessionId, AccountHandle) {
        let session = self.open_only(username).await;
        let row = self.fleet().state().session(session).cloned().expect("it was opened");
        let (account, incarnation) = (row.account, row.incarnation);
        let who = Entering { session, account, username: name(username), incarnation, progress };
        (session, self.ledger().enter(who, self.lease().unwrap()).await.unwrap())
    }

    /// Opens a session that does not enter its account.
    pub async fn open_only(self: &Arc<Self>, username: &str) -> SessionId {
        let user = Arc::clone(self.fleet().state().user(&name(username)).unwrap());
        let open = OpenSession {
            username: name(username),
            incarnation: user.incarnation,
            credential_revision: user.credential_revision,
            remote: "192.0.2.1:4711".into(),
            protocol: "SFTP".into(),
            method: "publickey".into(),
            ahead: self.ledger().wanted_at_open(&user),
        };
        let submitted = self.until_known(self.lease().unwrap().number(), Command::OpenSession(open)).await;
        let Ok(Done::Opened { session }) = submitted.reply else { panic!("not opened: {submitted:?}") };
        session
    }

    pub async fn close(self: &Arc<Self>, session: SessionId) {
        let close = CloseSession { session, reason: "done".into(), bytes_uploaded: 0, bytes_downloaded: 0 };
        let lease = self.lease().unwrap();
        self.until_known(lease.number(), Command::CloseSession(close)).await;
    }

    async fn until_known(&self, id: CommandId, command: Command) -> Submitted {
        loop {
            match self.submit(id, "test", command.clone(), Duration::from_secs(5)).await {
                Ok(submitted) => return submitted,
                Err(_) => self.fleet().dice.pause(1_000).await,
            }
        }
    }
}

#[async_trait]
impl Cluster for FleetNode {
    fn node(&self) -> NodeId {
        self.id
    }
    fn state(&self) -> Arc<State> {
        Arc::clone(&self.view.lock().unwrap())
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
        _actor: &str,
        command: Command,
        _deadline: Duration,
    ) -> Result<Submitted, SubmitError> {
        let fleet = self.fleet();
        fleet.dice.pause(1_000).await;
        if fleet.dice.roll(20) == 0 {
            return Err(SubmitError::Unknown("lost on the way".into()));
        }
        let (index, reply) = fleet.apply(id, command);
        if fleet.dice.roll(20) == 0 {
            return Err(SubmitError::Unknown("answer lost".into()));
        }
        let mut applied = self.applied.subscribe();
        applied.wait_for(|seen| *seen >= index).await.map_err(|_| SubmitError::Closed)?;
        fleet.dice.pause(500).await;
        if let (CommandId::Node { number, .. }, Some(lease)) = (id, self.lease()) {
            lease.answered(number);
        }
        Ok(Submitted { index, reply })
    }
    async fn barrier(&self, _deadline: Duration) -> Result<LogIndex, Unavailable> {
        Ok(self.state().applied_index())
    }
    fn status(&self) -> flotilla_cluster::Status {
        flotilla_cluster::Status::default()
    }
    fn set_agent(&self, agent: Arc<dyn Agent>) {
        let _ = self.agent.set(agent);
    }
    async fn cuts_effective(&self, _nodes: &[NodeId], _index: LogIndex, _deadline: Duration) -> Vec<NodeId> {
        Vec::new()
    }
    async fn probe(&self, _node: NodeId, _sessions: Vec<SessionId>) -> Option<Vec<ProbeAnswer>> {
        None
    }
}
