//! The session core of a node: what front ends call at a connection and at a login.

use std::net::SocketAddr;
use std::sync::Arc;

use flotilla_auth::{Verifier, VerifierConfig};
use flotilla_cluster::Cluster;
use flotilla_vfs::{Durability, Storage};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::login::{AuthOutcome, Credential};

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
}

impl Default for CoreConfig {
    fn default() -> Self {
        CoreConfig {
            durability: Durability::Close,
            handles_per_session: 256,
            jobs_per_session: 64,
            sessions: 4096,
            verifier: VerifierConfig::default(),
        }
    }
}

/// One per node. Cheap to share behind its `Arc`.
pub struct Core {
    pub(crate) config: CoreConfig,
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) verifier: Verifier,
}

impl Core {
    /// Becomes the cluster's agent and starts the watchers. Needs a tokio runtime.
    pub fn new(config: CoreConfig, cluster: Arc<dyn Cluster>, storages: Vec<Arc<dyn Storage>>) -> Arc<Self> {
        let _ = storages;
        let verifier = Verifier::new(config.verifier.clone());
        Arc::new(Core { config, cluster, verifier })
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
        let _ = (connection, username, credential, deadline);
        AuthOutcome::Unavailable("logins are not built yet".into())
    }
}
