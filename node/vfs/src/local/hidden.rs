//! Keeps clients out of `.flotilla` where a root is the storage's own folder: by name, by inode, and through links of their own making.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use crate::backend::{GuardRef, VfsError, VfsResult};

use super::ours::is_ours;
use super::root::OpenRoot;
use super::system::{guarded, identity, look_at, stat_of};

/// No path is deeper than a path is long.
const DEPTH_MAX: usize = 4096;

impl OpenRoot {
    /// Refuses a folder that was reached if it is `.flotilla` or lies in it. Walks up: what lies in there never leaves it.
    pub(super) fn refuse_ours(&self, folder: &OwnedFd, guard: &GuardRef) -> VfsResult<()> {
        let Some(ours) = self.hides else { return Ok(()) };
        let mut above: Option<OwnedFd> = None;
        for _ in 0..DEPTH_MAX {
            let current = above.as_ref().unwrap_or(folder);
            let id = identity(&stat_of(guard, current)?);
            if id == self.identity {
                return Ok(());
            }
            if id == ours {
                break;
            }
            above = Some(step_up(current, guard)?);
        }
        Err(VfsError::Denied)
    }

    /// Refuses `.flotilla` as a name in `folder`, in any case and under any alias of a case-folding file system.
    pub(super) fn refuse_our_name(&self, folder: &OwnedFd, name: &[u8], guard: &GuardRef) -> VfsResult<()> {
        let Some(ours) = self.hides else { return Ok(()) };
        if !self.is_top(folder, guard)? {
            return Ok(());
        }
        if is_ours(name) || look_at(guard, folder, name)?.is_some_and(|stat| identity(&stat) == ours) {
            return Err(VfsError::Denied);
        }
        Ok(())
    }

    fn is_top(&self, folder: &OwnedFd, guard: &GuardRef) -> VfsResult<bool> {
        Ok(identity(&stat_of(guard, folder)?) == self.identity)
    }
}

fn step_up(folder: impl AsFd, guard: &GuardRef) -> VfsResult<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    guarded(guard, || rustix::fs::openat(&folder, c"..", flags, Mode::empty()))
}
