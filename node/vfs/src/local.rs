//! The local backend: a folder of a local or shared POSIX file system, reached through descriptors and `openat2` only.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::backend::{
    Capability, GuardRef, IsOver, Marker, NoGuard, Owner, Root, Storage, Usage, UsageInUse, VfsError, VfsResult,
};

mod attributes;
mod capture;
mod durable;
mod exchange;
mod fence;
mod file;
mod hard_link;
mod hidden;
mod listing;
mod make_dir;
mod marker;
mod open;
mod open_root;
mod ours;
mod owner;
mod place;
mod probe;
mod prompt;
mod publish;
mod real_path;
mod remove;
mod remove_dir;
mod rename;
mod rename_over;
mod resolve;
mod root;
mod scan;
mod set_stat;
mod space;
mod stage;
mod staged;
mod staging;
mod stat;
mod symlink;
mod system;
mod walk;

use system::{Identity, blocking, fact, identity, stat_of};

/// How to open a local storage.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalOptions {
    /// Capabilities to do without although the file system has them; tests of the fall-backs use it.
    pub without: Without,
}

/// Capabilities that are treated as missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Without {
    pub exchange: bool,
    pub no_replace: bool,
    pub hard_links: bool,
}

/// The planted bug `credit-before-sync`: a removed file is credited, and its removal acknowledged, before its folder is synced.
#[cfg(feature = "planted-bugs")]
pub static CREDITS_BEFORE_SYNC: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// A folder as a storage.
pub struct LocalStorage(Arc<Shared>);

/// What the storage, its roots and their files share.
struct Shared {
    name: String,
    path: PathBuf,
    /// The storage's own folder.
    folder: Arc<OwnedFd>,
    folder_identity: Identity,
    mount: u64,
    capability: Capability,
    /// `.flotilla`, once a marker was seen in it.
    ours: Mutex<Option<Arc<OwnedFd>>>,
    staging: staging::Registry,
    unsynced: durable::Unsynced,
    prompt: prompt::Prompt,
}

impl LocalStorage {
    /// Opens the storage and probes it. Refuses, with a text for the operator, what is not there, not a folder, or lacks `openat2`.
    pub async fn open(name: &str, path: impl AsRef<Path>, options: LocalOptions) -> VfsResult<Arc<dyn Storage>> {
        let (name, path) = (name.to_owned(), path.as_ref().to_owned());
        let shared = blocking(move || Shared::open(name, path, options)).await?;
        Ok(Arc::new(LocalStorage(Arc::new(shared))))
    }
}

impl Shared {
    fn open(name: String, path: PathBuf, options: LocalOptions) -> VfsResult<Self> {
        let folder = open_storage_folder(&path)?;
        probe::require_openat2(&folder)?;
        require_proc()?;
        let stat = stat_of(&NoGuard::shared(), &folder)?;
        let mut capability = ours::with_probe_folder(&folder, |ours| probe::probe(ours))
            .map_err(|error| refused(&path, &format!("it cannot be probed: {error}")))?;
        capability.exchange &= !options.without.exchange;
        capability.no_replace &= !options.without.no_replace;
        capability.hard_links &= !options.without.hard_links;
        tracing::info!(storage = name, path = %path.display(), ?capability, "storage probed");
        Ok(Self {
            name,
            path,
            prompt: prompt::Prompt::of(&folder),
            folder: Arc::new(folder),
            folder_identity: identity(&stat),
            mount: stat.stx_mnt_id,
            capability,
            ours: Mutex::new(None),
            staging: staging::Registry::default(),
            unsynced: durable::Unsynced::default(),
        })
    }
}

fn open_storage_folder(path: &Path) -> VfsResult<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT => refused(path, "there is no such folder"),
        Errno::NOTDIR => refused(path, "it is not a folder"),
        Errno::ACCESS | Errno::PERM => refused(path, "this process may not open it"),
        other => refused(path, &fact(other).to_string()),
    })
}

/// Modes, times and ACLs of files that cannot be opened for reading are set through `/proc/self/fd`.
fn require_proc() -> VfsResult<()> {
    match rustix::fs::access("/proc/self/fd", rustix::fs::Access::EXISTS) {
        Ok(()) => Ok(()),
        Err(_) => Err(VfsError::StorageRefused("/proc is not mounted".into())),
    }
}

fn refused(path: &Path, why: &str) -> VfsError {
    VfsError::StorageRefused(format!("{}: {why}", path.display()))
}

#[async_trait]
impl Storage for LocalStorage {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn capability(&self) -> &Capability {
        &self.0.capability
    }

    async fn read_marker(&self) -> VfsResult<Option<Marker>> {
        let shared = self.0.clone();
        blocking(move || marker::read(&shared)).await
    }

    async fn write_marker(&self, marker: &Marker) -> VfsResult<()> {
        let (shared, marker) = (self.0.clone(), marker.clone());
        blocking(move || marker::write(&shared, &marker)).await
    }

    async fn open_root_as(&self, path: &str, account: u64, owner: Owner) -> VfsResult<Arc<dyn Root>> {
        let (shared, path) = (self.0.clone(), path.to_owned());
        let opened = blocking(move || open_root::open_root(&shared, &path, account, owner)).await?;
        Ok(Arc::new(root::LocalRoot(Arc::new(opened))))
    }

    async fn is_root_used(&self, path: &str) -> VfsResult<bool> {
        let (shared, path) = (self.0.clone(), path.to_owned());
        blocking(move || open_root::is_root_used(&shared, &path)).await
    }

    async fn fence(&self, account: u64, epoch: u64, guard: &GuardRef) -> VfsResult<()> {
        let (shared, guard) = (self.0.clone(), guard.clone());
        blocking(move || fence::fence(&shared, account, epoch, &guard)).await
    }

    async fn sweep(&self, account: u64, is_over: IsOver, guard: &GuardRef) -> VfsResult<bool> {
        let (shared, guard) = (self.0.clone(), guard.clone());
        blocking(move || fence::sweep(&shared, account, &is_over, &guard)).await
    }

    async fn scan(&self, path: &str, account: u64, guard: &GuardRef) -> VfsResult<Usage> {
        let (shared, path, guard) = (self.0.clone(), path.to_owned(), guard.clone());
        blocking(move || scan::scan(&shared, &path, account, &guard)).await
    }
    async fn scan_in_use(&self, path: &str, account: u64, guard: &GuardRef) -> VfsResult<UsageInUse> {
        let (shared, path, guard) = (self.0.clone(), path.to_owned(), guard.clone());
        blocking(move || scan::scan_in_use(&shared, &path, account, &guard)).await
    }
}
