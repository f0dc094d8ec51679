//! What a node needs to know to start.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flotilla_cluster::{Clock, SystemClock};
use flotilla_model::NodeId;

use crate::roster::{Member, Roster, Voucher};

/// Which engine keeps the log. A data folder stays with the one that began it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreChoice {
    #[default]
    Sled,
    Redb,
}

/// The addresses of a node, as written into the cluster's records at bootstrap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    pub name: String,
    /// `host:port` at which the node takes peers.
    pub peer: String,
    pub admin: String,
    pub sftp: String,
    /// DER SubjectPublicKeyInfo of its certificate's key; empty: any key that the CA signed (tests only).
    pub public_key: Vec<u8>,
}

/// Times of the engine. The defaults are for a LAN (`reference/raft.md` 7.3).
#[derive(Clone, Debug)]
pub struct Timing {
    pub heartbeat: Duration,
    pub election_min: Duration,
    pub election_max: Duration,
    /// Longest wait for one answer of a peer on the control connection.
    pub call: Duration,
    /// Longest wait for connecting: TCP, TLS and hello.
    pub connect: Duration,
    /// Longest time that sending and installing a snapshot may take.
    pub snapshot: Duration,
    /// Shortest time between a read round of a node and the next that only refusals ask for.
    pub refusal_round: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            heartbeat: Duration::from_millis(75),
            election_min: Duration::from_millis(300),
            election_max: Duration::from_millis(500),
            call: Duration::from_secs(2),
            connect: Duration::from_secs(1),
            snapshot: Duration::from_secs(120),
            refusal_round: Duration::from_millis(20),
        }
    }
}

/// Where a node connects to for a peer, given the peer's address. Tests put a network of their own between.
pub type Route = Arc<dyn Fn(NodeId, &str) -> String + Send + Sync>;

/// Settings of one node of the replicated core.
#[derive(Clone)]
pub struct Config {
    pub node: NodeId,
    /// Random UUID as text; peers and data folders of another cluster are refused.
    pub cluster_id: String,
    /// Ours alone: locked while the process lives. On a local file system.
    pub data_dir: PathBuf,
    /// Where peers connect to; port 0 takes a free one (see `RaftNode::peer_address`).
    pub listen: SocketAddr,
    /// All nodes of the first membership, this one included. A node that joined has `roster` instead.
    pub peers: BTreeMap<NodeId, PeerAddress>,
    /// The members as the answer to `Join` named them: believed until this node's own log says more.
    pub roster: Option<Roster>,
    /// A member's word for this node.
    pub voucher: Option<Voucher>,
    /// Whether this node makes the cluster if it does not exist yet. One node of `peers` has it set.
    pub bootstrap: bool,
    pub ca_pem: String,
    pub certificate_pem: String,
    pub key_pem: String,
    /// Written into the node's registration.
    pub version: String,
    pub timing: Timing,
    pub store: StoreChoice,
    /// A snapshot is written after this many entries since the last one …
    pub snapshot_entries: u64,
    /// … or this many bytes of entries, whichever comes first.
    pub snapshot_bytes: u64,
    /// Entries kept behind a snapshot for slow followers.
    pub keep_entries: u64,
    /// Clocks of leases. Tests have their own.
    pub clock: Arc<dyn Clock>,
    pub route: Route,
}

impl Config {
    /// Who is believed to be a member before the log says so.
    pub fn first_roster(&self) -> Roster {
        let member = |address: &PeerAddress| Member {
            address: address.peer.clone(),
            public_key: address.public_key.clone(),
            start: None,
        };
        let members = self.peers.iter().map(|(node, address)| (*node, member(address))).collect();
        self.roster.clone().unwrap_or(Roster { index: 0, last_node: NodeId(0), members })
    }

    /// Settings with defaults for all but identity, place and certificates.
    pub fn new(node: NodeId, cluster_id: &str, data_dir: PathBuf, listen: SocketAddr) -> Self {
        Config {
            node,
            cluster_id: cluster_id.to_owned(),
            data_dir,
            listen,
            peers: BTreeMap::new(),
            roster: None,
            voucher: None,
            bootstrap: false,
            ca_pem: String::new(),
            certificate_pem: String::new(),
            key_pem: String::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            timing: Timing::default(),
            store: StoreChoice::default(),
            snapshot_entries: 20_000,
            snapshot_bytes: 64 << 20,
            keep_entries: 5_000,
            clock: Arc::new(SystemClock),
            route: Arc::new(|_, address| address.to_owned()),
        }
    }
}
