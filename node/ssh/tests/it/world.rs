//! One node on a loopback port: state, storage, session core and front end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flotilla_cluster::{Cluster, LocalCluster};
use flotilla_model::command::*;
use flotilla_model::{UserPatch, UserSpec};
use flotilla_session::{Core, CoreConfig};
use flotilla_ssh::*;
use flotilla_vfs::{LocalOptions, LocalStorage};
use tokio_util::sync::CancellationToken;

pub use crate::support::*;

pub const USER: &str = "demo";

pub struct World {
    pub cluster: Arc<LocalCluster>,
    pub handle: Handle,
    pub drain: CancellationToken,
    pub running: tokio::task::JoinHandle<()>,
    pub keys: HostKeys,
    folder: tempfile::TempDir,
    renewal: tokio::task::JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.renewal.abort();
        self.running.abort();
    }
}

pub fn config(keys: &HostKeys) -> Config {
    Config {
        listen: vec![Listen { address: ([127, 0, 0, 1], 0).into(), proxy_protocol: ProxyProtocol::Off }],
        trusted_proxies: Vec::new(),
        host_keys: keys.clone(),
        login_banner: String::new(),
        limits: Limits::default(),
        engine: flotilla_sftp::Config::default(),
    }
}

impl World {
    /// With the user `demo`.
    pub async fn build() -> World {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> World {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("files")).unwrap();
        let cluster = LocalCluster::start();
        let renewal = tokio::spawn(renew(Arc::clone(&cluster)));
        let storage = LocalStorage::open("files", folder.path().join("files"), LocalOptions::default()).await.unwrap();
        let port = Arc::clone(&cluster) as Arc<dyn Cluster>;
        let core = Core::new(CoreConfig::default(), Arc::clone(&port), vec![storage]);
        let keys = generate_host_keys().unwrap();
        let mut config = config(&keys);
        change(&mut config);
        let server = SshServer::bind(config, core, port).unwrap();
        let (handle, drain) = (server.handle(), CancellationToken::new());
        let running = tokio::spawn(server.run(drain.clone()));
        let world = World { cluster, handle, drain, running, keys, folder, renewal };
        world.create(USER, |_| {});
        world
    }

    pub fn create(&self, user: &str, change: impl FnOnce(&mut UserSpec)) {
        let mut spec = spec(user);
        change(&mut spec);
        self.cluster.apply(Command::CreateUser(CreateUser { username: name(user), spec })).reply.unwrap();
    }

    pub fn update(&self, patch: UserPatch) {
        let command = UpdateUser { username: name(USER), expected_revision: None, patch };
        self.cluster.apply(Command::UpdateUser(command)).reply.unwrap();
    }

    pub fn address(&self) -> SocketAddr {
        self.handle.addresses()[0]
    }

    /// A file in demo's home.
    pub fn home(&self, below: &str) -> PathBuf {
        self.folder.path().join("files").join(USER).join(below)
    }

    /// A file beside the storage, for clients.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Live sessions of the user in the log's state.
    pub fn sessions(&self) -> usize {
        self.cluster.state().user_sessions(&name(USER)).count()
    }
}

async fn renew(cluster: Arc<LocalCluster>) {
    loop {
        cluster.renew();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Content that is different in every block.
pub fn content(bytes: usize) -> Vec<u8> {
    (0..bytes / 8 + 1)
        .flat_map(|word| (word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .take(bytes)
        .collect()
}
