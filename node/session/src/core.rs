//! The session core of a node: what front ends call at a connection and at a login.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flotilla_auth::{Verifier, VerifierConfig};
use flotilla_cluster::Cluster;
use flotilla_vfs::{Durability, Storage};
use tokio::time::Instant;

use crate::agent::NodeAgent;
use crate::captures::Captures;
use crate::connection::Connection;
use crate::gate::EndReason;
use crate::ledger::{Ledger, LedgerConfig};
use crate::login::{self, AuthOutcome, Credential};
use crate::open_inodes::OpenInodes;
use crate::registry::Registry;
use crate::storages::{StorageStatus, Storages};

/// Bounds and choices of the core.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    pub durability: Durability,
    /// Open files and directories of one session.
    pub handles_per_session: usize,
    /// File operations of one session that run at one time.
    pub jobs_per_session: usize,
    /// Sessions of this node, logins under way included.
    pub sessions: usize,
    pub verifier: VerifierConfig,
    pub ledger: LedgerConfig,
}

impl Default for CoreConfig {
    fn default() -> Self {
        CoreConfig {
            durability: Durability::Close,
            handles_per_session: 256,
            jobs_per_session: 64,
            sessions: 4096,
            verifier: VerifierConfig::default(),
            ledger: LedgerConfig::default(),
        }
    }
}

/// One per node. Cheap to share behind its `Arc`.
pub struct Core {
    pub(crate) config: CoreConfig,
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) verifier: Verifier,
    pub(crate) registry: Arc<Registry>,
    pub(crate) ledger: Ledger,
    pub(crate) storages: Arc<Storages>,
    pub(crate) open_inodes: OpenInodes,
    pub(crate) captures: Captures,
    draining: AtomicBool,
    tasks: Vec<tokio::task::AbortHandle>,
}

impl Core {
    /// Becomes the cluster's agent and starts the watchers. Needs a tokio runtime.
    pub fn new(config: CoreConfig, cluster: Arc<dyn Cluster>, storages: Vec<Arc<dyn Storage>>) -> Arc<Self> {
        let by_name: BTreeMap<_, _> = storages.iter().map(|one| (one.name().to_owned(), Arc::clone(one))).collect();
        let registry = Arc::new(Registry::default());
        let ledger = Ledger::start(Arc::clone(&cluster), by_name, config.ledger.clone());
        let storages = Storages::new(Arc::clone(&cluster), storages);
        let agent = NodeAgent { node: cluster.node(), registry: Arc::clone(&registry), ledger: ledger.clone() };
        cluster.set_agent(Arc::new(agent));
        let watchers = [
            tokio::spawn(crate::lease_watch::run(Arc::clone(&cluster), Arc::clone(&registry))),
            tokio::spawn(Arc::clone(&storages).watch()),
        ];
        Arc::new(Core {
            verifier: Verifier::new(config.verifier.clone()),
            config,
            cluster,
            registry,
            ledger,
            storages,
            open_inodes: OpenInodes::default(),
            captures: Captures::default(),
            draining: AtomicBool::new(false),
            tasks: watchers.iter().map(tokio::task::JoinHandle::abort_handle).collect(),
        })
    }

    /// A connection that was accepted. Nothing is known of its client.
    pub fn connection(&self, remote: SocketAddr, local: SocketAddr) -> Arc<Connection> {
        Connection::new(remote, local)
    }

    /// Decides on a credential, and for a right one on a session. May wait: for an election (5 s), for ghosts (8 s), at most
    /// until `deadline`. Dropping the future means that the client has gone: the slot is given back.
    pub async fn authenticate(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        username: &str,
        credential: Credential,
        deadline: Instant,
    ) -> AuthOutcome {
        login::authenticate::run(self, connection, username, credential, deadline).await
    }

    /// Sessions and logins under way on this node.
    pub fn session_count(&self) -> usize {
        self.registry.len()
    }

    /// The storages of this node, for readiness and status.
    pub fn storages(&self) -> Vec<StorageStatus> {
        self.storages.status()
    }

    /// From here on no new session is admitted here; running ones go on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Ends all sessions of this node and returns when they have given back their slots, or the time is over: how many are left.
    pub async fn end_sessions(&self, reason: EndReason, within: std::time::Duration) -> usize {
        self.drain();
        for entry in self.registry.all() {
            entry.connection.gate().cut(reason.clone());
        }
        let deadline = Instant::now() + within;
        while self.registry.len() > 0 && Instant::now() < deadline {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        self.registry.len()
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::AbortHandle::abort);
        self.ledger.stop();
    }
}
