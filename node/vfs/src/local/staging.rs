//! Staging folders, `.flotilla/<account>/<epoch>/`: opened once, used through that descriptor, so that a fence makes late calls fail.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use crate::backend::{GuardRef, VfsError, VfsResult};

use super::Shared;
use super::ours::enter_or_make;
use super::staged::StagedFile;
use super::system::stat_of;

/// Fenced (account, epoch) pairs that a process remembers; older epochs go first.
const ENDED_MAX: usize = 4096;
/// Entries without a user are looked for when the table has grown to this, and then at each doubling.
const FIRST_PRUNE: usize = 64;

/// One epoch's staging folder of one account.
pub(super) struct StagingFolder {
    pub folder: OwnedFd,
    token: u64,
    next: AtomicU64,
    /// Unpublished uploads of this process in it: a fence closes them first.
    uploads: Mutex<HashMap<String, Weak<StagedFile>>>,
}

impl StagingFolder {
    /// A name that nobody else uses: `u` for uploads, `c` for what was caught.
    pub fn fresh_name(&self, letter: char) -> String {
        format!("{letter}-{:016x}-{}", self.token, self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub fn add(&self, name: &str, upload: &Arc<StagedFile>) {
        self.uploads().insert(name.to_owned(), Arc::downgrade(upload));
    }

    pub fn forget(&self, name: &str) {
        self.uploads().remove(name);
    }

    fn uploads(&self) -> MutexGuard<'_, HashMap<String, Weak<StagedFile>>> {
        self.uploads.lock().expect("no holder of this lock panics")
    }

    fn close_uploads(&self) {
        let uploads = std::mem::take(&mut *self.uploads());
        for upload in uploads.into_values().filter_map(|upload| upload.upgrade()) {
            upload.close_as_fenced();
        }
    }

    /// What a missing name means: the fence removed the folder, or really no such file.
    pub fn missing(&self, guard: &GuardRef) -> VfsError {
        match stat_of(guard, &self.folder) {
            Ok(stat) if stat.stx_nlink == 0 => VfsError::Fenced,
            Ok(_) => VfsError::NotFound,
            Err(VfsError::Stopped(stopped)) => VfsError::Stopped(stopped),
            // NFS answers for a folder that is gone with an error.
            Err(_) => VfsError::Fenced,
        }
    }
}

/// The staging folders that this process has open.
#[derive(Default)]
pub(super) struct Registry(Mutex<Table>);

#[derive(Default)]
struct Table {
    open: HashMap<(u64, u64), Weak<StagingFolder>>,
    prune_at: usize,
    /// (epoch, account), so that the oldest epochs come first.
    ended: BTreeSet<(u64, u64)>,
}

impl Table {
    fn prune(&mut self) {
        if self.open.len() >= self.prune_at.max(FIRST_PRUNE) {
            self.open.retain(|_, folder| folder.strong_count() > 0);
            self.prune_at = self.open.len() * 2;
        }
    }
}

impl Registry {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().expect("no holder of this lock panics")
    }

    fn find(&self, account: u64, epoch: u64) -> VfsResult<Option<Arc<StagingFolder>>> {
        let table = self.table();
        if table.ended.contains(&(epoch, account)) {
            return Err(VfsError::Fenced);
        }
        Ok(table.open.get(&(account, epoch)).and_then(Weak::upgrade))
    }

    /// Keeps the first of two that were opened at once.
    fn keep(&self, account: u64, epoch: u64, folder: StagingFolder) -> VfsResult<Arc<StagingFolder>> {
        let mut table = self.table();
        if table.ended.contains(&(epoch, account)) {
            return Err(VfsError::Fenced);
        }
        if let Some(first) = table.open.get(&(account, epoch)).and_then(Weak::upgrade) {
            return Ok(first);
        }
        table.prune();
        let folder = Arc::new(folder);
        table.open.insert((account, epoch), Arc::downgrade(&folder));
        Ok(folder)
    }

    /// Ends an epoch in this process: its uploads are closed, and no new one begins.
    pub fn end(&self, account: u64, epoch: u64) {
        let folder = {
            let mut table = self.table();
            table.ended.insert((epoch, account));
            if table.ended.len() > ENDED_MAX {
                table.ended.pop_first();
            }
            table.open.remove(&(account, epoch)).and_then(|folder| folder.upgrade())
        };
        if let Some(folder) = folder {
            folder.close_uploads();
        }
    }
}

impl Shared {
    /// The staging folder of an account in an epoch, made at its first use.
    pub(super) fn staging(&self, account: u64, epoch: u64, guard: &GuardRef) -> VfsResult<Arc<StagingFolder>> {
        if let Some(folder) = self.staging.find(account, epoch)? {
            return Ok(folder);
        }
        let ours = self.ours(guard)?;
        let (of_account, _) = enter_or_make(guard, &ours, &account.to_string())?;
        let (folder, _) = enter_or_make(guard, &of_account, &epoch.to_string())?;
        let folder =
            StagingFolder { folder, token: rand::random(), next: AtomicU64::new(0), uploads: Mutex::default() };
        self.staging.keep(account, epoch, folder)
    }
}
