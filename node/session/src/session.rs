//! An admitted session: one authenticated connection with its account, its root, its open files.

mod channel;
mod end;
mod room;
mod uploads;
mod work;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, Weak};

use flotilla_cluster::Lease;
use flotilla_model::{AccountId, LogIndex, SessionId, User, Username};
use flotilla_vfs::{GuardRef, Owner, Root};
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use channel::ChannelRefused;
pub(crate) use room::settle;
pub(crate) use work::Work;

use crate::connection::Connection;
use crate::core::Core;
use crate::file::Upload;
use crate::files::OpenFile;
use crate::ledger::{AccountHandle, Entering, Progress};
use crate::login::Lifecycle;
use crate::storages::StorageState;

/// KB/s (1000 bytes); 0 = unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    pub upload: u64,
    pub download: u64,
}

/// Caught files of one session that are measured at one time; more are measured before their client is answered.
const MEASURED_AT_ONCE: usize = 64;

/// One authenticated connection. Implements `Files`.
pub struct Session {
    me: Weak<Session>,
    pub(crate) core: Arc<Core>,
    connection: Arc<Connection>,
    lifecycle: Arc<Lifecycle>,
    lease: Arc<Lease>,
    id: SessionId,
    username: Username,
    incarnation: LogIndex,
    account_id: AccountId,
    /// `None` once the session has left its account.
    account: Mutex<Option<Arc<AccountHandle>>>,
    progress: Arc<Progress>,
    storage: Arc<StorageState>,
    pub(crate) root: Arc<dyn Root>,
    guard: GuardRef,
    started: Instant,
    jobs: Arc<Semaphore>,
    handles: Arc<Semaphore>,
    measuring: Arc<Semaphore>,
    channels: channel::Channels,
    /// Files that have not been closed, so that the session's end can end them.
    open_files: Mutex<HashMap<u64, Arc<dyn OpenFile>>>,
    /// Its own unpublished uploads: found by (parent inode, name).
    uploads: Mutex<Vec<Arc<Upload>>>,
    next_handle: AtomicU64,
    bytes_uploaded: AtomicU64,
    bytes_downloaded: AtomicU64,
}

impl Session {
    /// Enters the account and opens the root. The slot is taken; an error's text is for the client.
    pub(crate) async fn enter(
        core: &Arc<Core>,
        connection: &Arc<Connection>,
        lifecycle: &Arc<Lifecycle>,
        lease: Arc<Lease>,
        id: SessionId,
        user: &User,
    ) -> Result<Arc<Session>, String> {
        let gate = connection.gate();
        gate.set_lease(Arc::clone(&lease));
        // The account at the open: a home that changed since then cuts the session.
        let account_id = core.cluster.state().session(id).map_or(user.account, |row| row.account);
        let storage = core.storages.usable(&user.home.storage).await?;
        let own = |id: u32| (id != 0).then_some(id);
        let owner = Owner { uid: own(user.uid), gid: own(user.gid) };
        let root = storage.storage.open_root_as(user.home.path(), account_id.0, owner).await;
        let root = root.map_err(|error| format!("home folder cannot be opened: {error}"))?;
        let progress = Progress::new(core.config.jobs_per_session, Some(Arc::clone(gate)));
        let entering = Entering {
            session: id,
            account: account_id,
            username: user.username.clone(),
            incarnation: user.incarnation,
            progress: Arc::clone(&progress),
        };
        let account = core.ledger.enter(entering, Arc::clone(&lease)).await.map_err(|error| error.to_string())?;
        gate.check().map_err(|reason| reason.to_string())?;
        let session = Arc::new_cyclic(|me| Session {
            me: me.clone(),
            core: Arc::clone(core),
            connection: Arc::clone(connection),
            lifecycle: Arc::clone(lifecycle),
            lease,
            id,
            username: user.username.clone(),
            incarnation: user.incarnation,
            account_id,
            account: Mutex::new(Some(Arc::new(account))),
            progress,
            storage,
            root,
            guard: Arc::clone(gate) as GuardRef,
            started: Instant::now(),
            jobs: Arc::new(Semaphore::new(core.config.jobs_per_session)),
            handles: Arc::new(Semaphore::new(core.config.handles_per_session)),
            measuring: Arc::new(Semaphore::new(MEASURED_AT_ONCE)),
            channels: channel::Channels::default(),
            open_files: Mutex::default(),
            uploads: Mutex::default(),
            next_handle: AtomicU64::new(0),
            bytes_uploaded: AtomicU64::new(0),
            bytes_downloaded: AtomicU64::new(0),
        });
        lifecycle.hold(Arc::clone(&session));
        metrics::gauge!("flotilla_sessions").increment(1.0);
        Ok(session)
    }

    pub fn id(&self) -> SessionId {
        self.id
    }
    pub fn username(&self) -> &Username {
        &self.username
    }
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The user's present bandwidth limits.
    pub fn bandwidth(&self) -> Bandwidth {
        self.user().map_or(Bandwidth::default(), |user| Bandwidth {
            upload: user.upload_bandwidth,
            download: user.download_bandwidth,
        })
    }

    pub(crate) fn arc(&self) -> Arc<Session> {
        self.me.upgrade().expect("whoever calls a method holds the session")
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.lease.epoch().0
    }

    pub(crate) fn account_id(&self) -> AccountId {
        self.account_id
    }
}
