//! An open root: one descriptor, under which everything is resolved. Each operation is a file of its own; here they are sent to where they may wait.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::backend::{
    Capability, Caught, Dir, Durability, File, FileStat, GuardRef, OpenHow, Root, SetStat, Space, Staged, VfsResult,
};

use super::Shared;
use super::listing::Listing;
use super::owner::Ownership;
use super::prompt::Prompt;
use super::staged::Upload;
use super::staging::StagingFolder;
use super::system::{Identity, blocking};

/// What the operations work on.
pub(super) struct OpenRoot {
    pub shared: Arc<Shared>,
    pub account: u64,
    pub folder: Arc<OwnedFd>,
    pub identity: Identity,
    /// `.flotilla`, where this root is the storage's own folder.
    pub hides: Option<Identity>,
    pub ownership: Ownership,
    /// The staging folder used last: it stays open as long as the root does.
    pub staging: Mutex<Option<(u64, Arc<StagingFolder>)>>,
}

impl OpenRoot {
    pub(super) fn staging(&self, epoch: u64, guard: &GuardRef) -> VfsResult<Arc<StagingFolder>> {
        // Also asked when it is known here: the registry tells whether the epoch ended.
        let folder = self.shared.staging(self.account, epoch, guard)?;
        *self.staging.lock().expect("no holder of this lock panics") = Some((epoch, folder.clone()));
        Ok(folder)
    }
}

pub(super) struct LocalRoot(pub Arc<OpenRoot>);

/// What travels to the thread that may block.
fn taken(root: &LocalRoot, path: &[u8], guard: &GuardRef) -> (Arc<OpenRoot>, Vec<u8>, GuardRef) {
    (root.0.clone(), path.to_vec(), guard.clone())
}

impl LocalRoot {
    fn prompt(&self) -> &Prompt {
        &self.0.shared.prompt
    }

    /// What changes names waits for the disk where the durability asks for it, or when many folders wait for their sync.
    async fn run<T: Send + 'static>(&self, durability: Durability, work: impl FnOnce() -> T + Send + 'static) -> T {
        if durability == Durability::Close || self.0.shared.unsynced_is_full() {
            return blocking(work).await;
        }
        self.prompt().run(work).await
    }
}

#[async_trait]
impl Root for LocalRoot {
    fn capability(&self) -> &Capability {
        &self.0.shared.capability
    }

    async fn stat(&self, path: &[u8], follow: bool, guard: &GuardRef) -> VfsResult<FileStat> {
        let (root, path, guard) = taken(self, path, guard);
        self.prompt().run(move || root.stat(&path, follow, &guard)).await
    }

    async fn set_stat(&self, path: &[u8], wanted: SetStat, guard: &GuardRef) -> VfsResult<()> {
        let (root, path, guard) = taken(self, path, guard);
        match wanted.size {
            None => self.prompt().run(move || root.set_stat(&path, wanted, &guard)).await,
            Some(_) => blocking(move || root.set_stat(&path, wanted, &guard)).await,
        }
    }

    async fn open_dir(&self, path: &[u8], guard: &GuardRef) -> VfsResult<Box<dyn Dir>> {
        let (root, path, guard) = taken(self, path, guard);
        let opened = self.prompt().run(move || root.open_dir(&path, &guard)).await?;
        Ok(Box::new(Listing::new(self.0.shared.clone(), opened)))
    }

    async fn make_dir(&self, path: &[u8], mode: u32, durability: Durability, guard: &GuardRef) -> VfsResult<()> {
        let (root, path, guard) = taken(self, path, guard);
        self.run(durability, move || root.make_dir(&path, mode, durability, &guard)).await
    }

    async fn remove_dir(&self, path: &[u8], durability: Durability, guard: &GuardRef) -> VfsResult<()> {
        let (root, path, guard) = taken(self, path, guard);
        self.run(durability, move || root.remove_dir(&path, durability, &guard)).await
    }

    async fn symlink(&self, path: &[u8], target: &[u8], durability: Durability, guard: &GuardRef) -> VfsResult<()> {
        let (root, path, guard) = taken(self, path, guard);
        let target = target.to_vec();
        self.run(durability, move || root.symlink(&path, &target, durability, &guard)).await
    }

    async fn read_link(&self, path: &[u8], guard: &GuardRef) -> VfsResult<Vec<u8>> {
        let (root, path, guard) = taken(self, path, guard);
        self.prompt().run(move || root.read_link(&path, &guard)).await
    }

    async fn real_path(&self, path: &[u8], guard: &GuardRef) -> VfsResult<Vec<u8>> {
        let (root, path, guard) = taken(self, path, guard);
        self.prompt().run(move || root.real_path(&path, &guard)).await
    }

    async fn open(&self, path: &[u8], how: OpenHow, guard: &GuardRef) -> VfsResult<Arc<dyn File>> {
        let (root, path, guard) = taken(self, path, guard);
        let file = self.prompt().run(move || root.open(&path, how, &guard)).await?;
        Ok(Arc::new(file))
    }

    async fn stage(&self, path: &[u8], mode: u32, epoch: u64, guard: &GuardRef) -> VfsResult<Arc<dyn Staged>> {
        let (root, path, guard) = taken(self, path, guard);
        let staged = self.prompt().run(move || root.stage(&path, mode, epoch, &guard)).await?;
        Ok(Arc::new(Upload(staged)))
    }

    async fn remove(
        &self,
        path: &[u8],
        epoch: u64,
        durability: Durability,
        guard: &GuardRef,
    ) -> VfsResult<Box<dyn Caught>> {
        let (root, path, guard) = taken(self, path, guard);
        let caught = self.run(durability, move || root.remove(&path, epoch, durability, &guard)).await?;
        Ok(Box::new(caught))
    }

    async fn rename(&self, from: &[u8], to: &[u8], durability: Durability, guard: &GuardRef) -> VfsResult<()> {
        let (root, from, guard) = taken(self, from, guard);
        let to = to.to_vec();
        self.run(durability, move || root.rename(&from, &to, durability, &guard)).await
    }

    async fn rename_over(
        &self,
        from: &[u8],
        to: &[u8],
        epoch: u64,
        durability: Durability,
        guard: &GuardRef,
    ) -> VfsResult<Option<Box<dyn Caught>>> {
        let (root, from, guard) = taken(self, from, guard);
        let to = to.to_vec();
        let caught = blocking(move || root.rename_over(&from, &to, epoch, durability, &guard)).await?;
        Ok(caught.map(|caught| Box::new(caught) as Box<dyn Caught>))
    }

    async fn hard_link(&self, from: &[u8], to: &[u8], durability: Durability, guard: &GuardRef) -> VfsResult<()> {
        let (root, from, guard) = taken(self, from, guard);
        let to = to.to_vec();
        self.run(durability, move || root.hard_link(&from, &to, durability, &guard)).await
    }

    async fn space(&self, guard: &GuardRef) -> VfsResult<Space> {
        let (root, guard) = (self.0.clone(), guard.clone());
        self.prompt().run(move || root.space(&guard)).await
    }
}
