//! One node on a loopback port: state, storage, session core and front end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use flotilla_cluster::{Cluster, LocalCluster};
use flotilla_model::command::*;
use flotilla_model::{Filters, Permission, Root, Status, StorageName, UserPatch, UserSpec, Username};
use flotilla_session::{Core, CoreConfig};
use flotilla_ssh::*;
use flotilla_vfs::{LocalOptions, LocalStorage};
use tokio_util::sync::CancellationToken;

pub const PASSWORD: &str = "correct horse";
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

pub fn hash() -> String {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| flotilla_auth::hash_password(PASSWORD.as_bytes()).unwrap()).clone()
}

pub fn name(text: &str) -> Username {
    Username::parse(text).unwrap()
}

fn spec(user: &str) -> UserSpec {
    UserSpec {
        status: Status::Enabled,
        expiration_date: 0,
        password_hash: Some(hash()),
        public_keys: Vec::new(),
        home: Root::new(StorageName::parse("files").unwrap(), user).unwrap(),
        uid: 0,
        gid: 0,
        max_sessions: 0,
        quota_size: 0,
        quota_files: 0,
        permissions: [("/".to_owned(), vec![Permission::Any])].into(),
        upload_bandwidth: 0,
        download_bandwidth: 0,
        filters: Filters::default(),
        email: String::new(),
        description: String::new(),
        additional_info: String::new(),
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

pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Content that is different in every block.
pub fn content(bytes: usize) -> Vec<u8> {
    (0..bytes / 8 + 1)
        .flat_map(|word| (word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .take(bytes)
        .collect()
}
