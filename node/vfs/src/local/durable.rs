//! Which folders must be synced for a name to survive a power cut (`PROTOCOL.md` 8.6).

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard};

use rustix::fs::{Mode, OFlags};

use crate::backend::{Durability, GuardRef, VfsResult};

use super::Shared;
use super::system::{Identity, guarded, identity, stat_of};

/// Folders that are remembered as not synced; at this many the whole file system is synced instead.
const UNSYNCED_MAX: usize = 4096;
/// No path is deeper than a path is long.
const DEPTH_MAX: usize = 4096;

/// Folders that this node made or moved under durability `none`: their own entry in their parent may not be durable.
#[derive(Default)]
pub(super) struct Unsynced(Mutex<HashSet<Identity>>);

impl Unsynced {
    fn set(&self) -> MutexGuard<'_, HashSet<Identity>> {
        self.0.lock().expect("no holder of this lock panics")
    }

    fn contains(&self, folder: Identity) -> bool {
        self.set().contains(&folder)
    }

    fn is_empty(&self) -> bool {
        self.set().is_empty()
    }
}

impl Shared {
    /// Whether a further note may make the whole file system be synced.
    pub(super) fn unsynced_is_full(&self) -> bool {
        self.unsynced.set().len() >= UNSYNCED_MAX
    }

    /// Notes that the entry of `folder` in its parent was not synced.
    pub(super) fn note_unsynced(&self, folder: Identity, guard: &GuardRef) -> VfsResult<()> {
        let is_full = {
            let mut set = self.unsynced.set();
            set.insert(folder);
            set.len() > UNSYNCED_MAX
        };
        if is_full { self.sync_all(guard) } else { Ok(()) }
    }

    fn sync_all(&self, guard: &GuardRef) -> VfsResult<()> {
        let noted = self.unsynced.set().clone();
        guarded(guard, || rustix::fs::syncfs(&self.folder))?;
        self.unsynced.set().retain(|folder| !noted.contains(folder));
        Ok(())
    }

    /// Syncs a folder, and above it each entry of a folder that this node made and has not synced.
    pub(super) fn sync_folder(&self, folder: &OwnedFd, guard: &GuardRef) -> VfsResult<()> {
        guarded(guard, || rustix::fs::fsync(folder))?;
        if self.unsynced.is_empty() { Ok(()) } else { self.sync_ancestors(folder, guard) }
    }

    /// All the way up: a folder may have been moved together with what lies in it.
    fn sync_ancestors(&self, folder: &OwnedFd, guard: &GuardRef) -> VfsResult<()> {
        let mut above: Option<OwnedFd> = None;
        for _ in 0..DEPTH_MAX {
            let current = above.as_ref().unwrap_or(folder);
            let id = identity(&stat_of(guard, current)?);
            if id == self.folder_identity {
                break;
            }
            let parent = parent_of(current, guard)?;
            if self.unsynced.contains(id) {
                guarded(guard, || rustix::fs::fsync(&parent))?;
                self.unsynced.set().remove(&id);
            }
            above = Some(parent);
        }
        Ok(())
    }

    /// After a change in a folder: syncs it if the durability asks for it.
    pub(super) fn settle_folder(&self, folder: &OwnedFd, durability: Durability, guard: &GuardRef) -> VfsResult<()> {
        match durability {
            Durability::Close => self.sync_folder(folder, guard),
            Durability::None => Ok(()),
        }
    }
}

/// The folder above an open one. Only for folders that are known to lie under a root.
fn parent_of(folder: impl AsFd, guard: &GuardRef) -> VfsResult<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    guarded(guard, || rustix::fs::openat(&folder, c"..", flags, Mode::empty()))
}
