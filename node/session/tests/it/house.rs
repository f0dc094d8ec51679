//! One node with real state, real files and no network: a core over a cluster of one and a local storage.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flotilla_cluster::*;
use flotilla_model::command::*;
use flotilla_model::{Amount, UserPatch, UserSpec};
use flotilla_session::*;
use flotilla_vfs::{LocalOptions, LocalStorage};
use tokio::time::Instant;

pub use crate::support::*;

/// Clocks that a test moves.
#[derive(Default)]
pub struct HandClock(AtomicU64);

impl HandClock {
    pub fn pass(&self, time: Duration) {
        self.0.fetch_add(time.as_nanos() as u64, Ordering::SeqCst);
    }
}
impl Clock for HandClock {
    fn now(&self) -> Clocks {
        let now = 1_000_000_000 + self.0.load(Ordering::SeqCst);
        Clocks { boot: now, raw: now }
    }
}

pub struct House {
    pub cluster: Arc<LocalCluster>,
    pub core: Arc<Core>,
    pub clock: Arc<HandClock>,
    folder: tempfile::TempDir,
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl House {
    pub async fn build() -> House {
        Self::build_with(|cluster| cluster).await
    }

    /// With something between the core and the cluster.
    pub async fn build_with<C: Cluster>(between: impl FnOnce(Arc<LocalCluster>) -> Arc<C>) -> House {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(HandClock::default());
        let cluster = LocalCluster::start_with(Arc::clone(&clock) as Arc<dyn Clock>);
        let storage = LocalStorage::open("files", folder.path(), LocalOptions::default()).await.unwrap();
        let between: Arc<dyn Cluster> = between(Arc::clone(&cluster));
        let core = Core::new(CoreConfig::default(), between, vec![storage]);
        House { cluster, core, clock, folder }
    }

    pub fn create(&self, user: &str, change: impl FnOnce(&mut UserSpec)) {
        let mut spec = spec(user);
        change(&mut spec);
        let command = CreateUser { username: name(user), spec };
        self.cluster.apply(Command::CreateUser(command)).reply.unwrap();
    }

    pub fn update(&self, user: &str, patch: UserPatch) {
        let command = UpdateUser { username: name(user), expected_revision: None, patch };
        self.cluster.apply(Command::UpdateUser(command)).reply.unwrap();
    }

    pub fn connection(&self) -> Arc<Connection> {
        static PORT: AtomicU64 = AtomicU64::new(40_000);
        self.core.connection(address(PORT.fetch_add(1, Ordering::SeqCst) as u16), address(2022))
    }

    pub async fn login_on(&self, connection: &Arc<Connection>, user: &str, password: &str) -> AuthOutcome {
        let deadline = Instant::now() + Duration::from_secs(30);
        self.core.authenticate(connection, user, Credential::Password(password.into()), deadline).await
    }

    pub async fn login(&self, user: &str, password: &str) -> AuthOutcome {
        self.login_on(&self.connection(), user, password).await
    }

    /// A session that must be admitted.
    pub async fn session(&self, user: &str) -> Admitted {
        match self.login(user, PASSWORD).await {
            AuthOutcome::Accepted(admitted) => admitted,
            other => panic!("{user} is not admitted: {}", told(&other)),
        }
    }

    /// Ends a session and waits until its slots are back.
    pub async fn leave(&self, admitted: Admitted) {
        let session = Arc::clone(admitted.session());
        drop(admitted);
        session.closed().await;
    }

    /// Slots in use by the state.
    pub fn slots(&self, user: &str) -> u32 {
        self.cluster.state().slots_in_use(&name(user))
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub fn read(&self, below: &str) -> String {
        std::fs::read_to_string(self.path(below)).unwrap()
    }

    pub fn used(&self, user: &str) -> Amount {
        let state = self.cluster.state();
        let account = state.user(&name(user)).unwrap().account;
        state.account(account).unwrap().used
    }

    /// Files left in the account's staging folders.
    pub fn staged(&self, user: &str) -> usize {
        let account = self.cluster.state().user(&name(user)).unwrap().account;
        let Ok(epochs) = std::fs::read_dir(self.path(&format!(".flotilla/{account}"))) else { return 0 };
        epochs.map(|epoch| std::fs::read_dir(epoch.unwrap().path()).unwrap().count()).sum()
    }
}

pub fn told(outcome: &AuthOutcome) -> String {
    match outcome {
        AuthOutcome::Accepted(admitted) => format!("accepted {}", admitted.session().id()),
        AuthOutcome::KeyAcceptable => "key acceptable".into(),
        AuthOutcome::AcceptedButRefused(text) => format!("refused: {text}"),
        AuthOutcome::Rejected => "rejected".into(),
        AuthOutcome::Unavailable(text) => format!("unavailable: {text}"),
    }
}

pub const WRITE: OpenFlags =
    OpenFlags { read: false, write: true, append: false, create: true, truncate: true, exclusive: false };
pub const READ: OpenFlags =
    OpenFlags { read: true, write: false, append: false, create: false, truncate: false, exclusive: false };

/// Uploads a file as `put` does.
pub async fn put(session: &Session, path: &str, content: &[u8]) -> Result<(), Failure> {
    let file = session.open(path.as_bytes(), WRITE, SetStat::default()).await?;
    let written = file.write(0, content.to_vec().into()).await;
    let closed = file.close().await;
    written.and(closed)
}

/// Downloads a file as `get` does.
pub async fn get(session: &Session, path: &str) -> Result<Vec<u8>, Failure> {
    let file = session.open(path.as_bytes(), READ, SetStat::default()).await?;
    let mut content = Vec::new();
    loop {
        let data = file.read(content.len() as u64, 32 << 10).await?;
        if data.is_empty() {
            break;
        }
        content.extend_from_slice(&data);
    }
    file.close().await?;
    Ok(content)
}

pub async fn list(session: &Session, path: &str) -> Result<Vec<String>, Failure> {
    let mut dir = session.open_dir(path.as_bytes()).await?;
    let mut names = Vec::new();
    loop {
        let entries = dir.next(100).await?;
        if entries.is_empty() {
            names.sort();
            return Ok(names);
        }
        names.extend(entries.into_iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()));
    }
}
