//! Three nodes in this process, over real TLS on loopback.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::links::Links;
use async_trait::async_trait;
use flotilla_cluster::{Agent, Changed, Cluster, ProbeAnswer};
use flotilla_model::command::PutToken;
use flotilla_model::{Command, CommandId, NodeId, SessionId, State};
use flotilla_raft::{Config, FolderError, Handle, PeerAddress, RaftNode, StartError, pki};

pub const LONG: Duration = Duration::from_secs(30);

/// What a test needs to start and restart nodes.
pub struct Testbed {
    pub dir: tempfile::TempDir,
    pub ca: pki::Identity,
    pub peers: BTreeMap<NodeId, PeerAddress>,
    pub identities: BTreeMap<NodeId, pki::Identity>,
    listeners: Mutex<BTreeMap<NodeId, TcpListener>>,
    tune: fn(&mut Config),
    links: Option<Arc<Links>>,
}

impl Testbed {
    pub fn new(nodes: u64) -> Self {
        Self::tuned(nodes, |_| {})
    }

    /// With a network that can be cut.
    pub async fn linked(nodes: u64, tune: fn(&mut Config)) -> (Self, Arc<Links>) {
        let mut bed = Self::tuned(nodes, tune);
        let links = Links::start(&bed.peers).await;
        bed.links = Some(Arc::clone(&links));
        (bed, links)
    }

    pub fn tuned(nodes: u64, tune: fn(&mut Config)) -> Self {
        let ca = pki::make_ca("test").expect("a CA");
        let (mut peers, mut listeners, mut identities) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for node in 1..=nodes {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let peer = listener.local_addr().expect("its address").to_string();
            let identity = pki::make_node(&ca, "test", node).expect("a node certificate");
            let public_key = pki::public_key(&identity.key_pem).expect("its public key");
            let (name, admin, sftp) = (format!("node{node}"), String::new(), String::new());
            let address = PeerAddress { name, peer, admin, sftp, public_key };
            identities.insert(NodeId(node), identity);
            peers.insert(NodeId(node), address);
            listeners.insert(NodeId(node), listener);
        }
        let dir = tempfile::tempdir().expect("a temporary folder");
        Testbed { dir, ca, peers, identities, listeners: Mutex::new(listeners), tune, links: None }
    }

    pub fn config(&self, node: u64) -> Config {
        let identity = self.identities[&NodeId(node)].clone();
        let listen = self.peers[&NodeId(node)].peer.parse().expect("its own address");
        let mut config = Config::new(NodeId(node), "test", self.dir.path().join(format!("node{node}")), listen);
        config.peers = self.peers.clone();
        config.bootstrap = node == 1;
        config.ca_pem = self.ca.certificate_pem.clone();
        config.certificate_pem = identity.certificate_pem;
        config.key_pem = identity.key_pem;
        if let Some(links) = &self.links {
            config.route = links.route(NodeId(node));
        }
        (self.tune)(&mut config);
        config
    }

    /// Starts a node; the first time on the socket that was bound for it.
    pub async fn start(&self, node: u64) -> Running {
        let bound = self.listeners.lock().expect("no panic").remove(&NodeId(node));
        let listener = match bound {
            Some(listener) => listener,
            None => self.bind_again(node).await,
        };
        let listener = Arc::new(listener);
        // A node that was dropped closes its store when its threads have ended.
        for _ in 0..200 {
            let listener = listener.try_clone().expect("a second descriptor");
            match RaftNode::start_on(self.config(node), listener).await {
                Ok((raft, handle)) => return Running { raft: Some(raft), handle },
                Err(StartError::Folder(FolderError::Locked(_))) => {}
                Err(error) => panic!("node {node} does not start: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the folder of node {node} stays locked");
    }

    /// The sockets of a node that was dropped close when its threads have ended.
    async fn bind_again(&self, node: u64) -> TcpListener {
        let address = &self.peers[&NodeId(node)].peer;
        for _ in 0..200 {
            if let Ok(listener) = TcpListener::bind(address) {
                return listener;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the port of node {node} stays in use");
    }

    /// Why a node does not start, once its folder is free.
    pub async fn start_error(&self, node: u64) -> String {
        loop {
            let listener = self.bind_again(node).await;
            match RaftNode::start_on(self.config(node), listener).await {
                Err(StartError::Folder(FolderError::Locked(_))) => tokio::task::yield_now().await,
                Err(error) => return error.to_string(),
                Ok(_) => panic!("node {node} starts"),
            }
        }
    }

    pub async fn start_all(&self) -> Vec<Running> {
        let mut nodes = Vec::new();
        for node in self.peers.keys() {
            nodes.push(self.start(node.0).await);
        }
        nodes
    }
}

pub struct Running {
    raft: Option<RaftNode>,
    pub handle: Handle,
}

impl Running {
    pub fn alive(&self) -> bool {
        self.raft.is_some()
    }

    /// Ends the node as if its process had been killed.
    pub fn kill(&mut self) {
        drop(self.raft.take());
    }

    pub async fn shutdown(mut self) {
        if let Some(raft) = self.raft.take() {
            raft.shutdown().await;
        }
    }
}

/// The position in `nodes` of the one that leads, as all living ones say, once the cluster takes commands.
pub async fn leader(nodes: &[Running]) -> usize {
    for node in nodes.iter().filter(|node| node.alive()) {
        node.handle.wait_for_lease(LONG).await.expect("a lease");
    }
    for _ in 0..300 {
        let alive: Vec<&Running> = nodes.iter().filter(|node| node.raft.is_some()).collect();
        let first = alive[0].handle.status().leader;
        let agreed = alive.iter().all(|node| node.handle.status().leader == first);
        let lives =
            first.and_then(|leader| nodes.iter().position(|node| node.raft.is_some() && node.handle.node() == leader));
        if let (true, Some(position)) = (agreed, lives) {
            return position;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no leader");
}

/// A command with a visible result: a token of that name.
pub fn put_token(name: &str) -> Command {
    // A hash belongs to one token.
    let mut hash = [0; 32];
    hash.iter_mut().zip(name.bytes()).for_each(|(at, byte)| *at = byte);
    Command::PutToken(PutToken {
        name: name.to_owned(),
        hash,
        permissions: vec!["*".to_owned()],
        expires_at: 0,
        replace: false,
    })
}

/// A request id of a test's own.
pub fn request() -> CommandId {
    CommandId::Request(flotilla_cluster::new_request_id())
}

/// An agent that notes what it was called with.
#[derive(Default)]
pub struct Recorder {
    pub everything: Mutex<Vec<u64>>,
    pub rows: Mutex<u64>,
}

#[async_trait]
impl Agent for Recorder {
    fn reconcile(&self, state: &Arc<State>, changed: &Changed) {
        match changed {
            Changed::Everything => self.everything.lock().expect("no panic").push(state.applied_index()),
            Changed::Rows(_) => *self.rows.lock().expect("no panic") += 1,
        }
    }

    async fn probe(&self, sessions: Vec<SessionId>) -> Vec<ProbeAnswer> {
        sessions.iter().map(|_| ProbeAnswer::Alive).collect()
    }
}

/// What this machine lacks is a failure, unless the caller of the tests said that such tests may be left out.
pub fn lacks(what: &str) {
    let may_skip = std::env::var_os("FLOTILLA_MAY_SKIP").is_some();
    assert!(may_skip, "{what}: set FLOTILLA_MAY_SKIP=1 to leave such tests out");
    println!("skipped: {what}");
}
