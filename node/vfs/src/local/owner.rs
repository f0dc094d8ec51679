//! Gives what a session makes to its user's uid and gid.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, Gid, Uid};
use rustix::io::Errno;

use crate::backend::{GuardRef, Owner, VfsResult};

use super::system::{attempt, fact};

/// One root's owner.
#[derive(Default)]
pub(super) struct Ownership {
    owner: Owner,
    /// It was said once that the process may not.
    said: AtomicBool,
}

impl Ownership {
    pub fn new(owner: Owner) -> Self {
        Self { owner, said: AtomicBool::new(false) }
    }

    fn ids(&self) -> Option<(Option<Uid>, Option<Gid>)> {
        let Owner { uid, gid } = self.owner;
        (uid.is_some() || gid.is_some()).then(|| (uid.map(Uid::from_raw), gid.map(Gid::from_raw)))
    }

    /// An open file or folder that was just made.
    pub fn give(&self, made: &OwnedFd, guard: &GuardRef) -> VfsResult<()> {
        let Some((uid, gid)) = self.ids() else { return Ok(()) };
        let given = attempt(guard, || rustix::fs::fchown(made, uid, gid))?;
        self.settle(given)
    }

    /// A name that was just made, never what a link there leads to.
    pub fn give_name(&self, folder: &OwnedFd, name: &[u8], guard: &GuardRef) -> VfsResult<()> {
        let Some((uid, gid)) = self.ids() else { return Ok(()) };
        let given = attempt(guard, || rustix::fs::chownat(folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW))?;
        self.settle(given)
    }

    fn settle(&self, given: rustix::io::Result<()>) -> VfsResult<()> {
        match given {
            // Gone already, by another session of the account.
            Ok(()) | Err(Errno::NOENT | Errno::STALE) => Ok(()),
            Err(errno @ (Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::OPNOTSUPP | Errno::ROFS)) => {
                if !self.said.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        uid = self.owner.uid,
                        gid = self.owner.gid,
                        error = %errno,
                        "files stay the process's own: it may not give them to the user's uid and gid (CAP_CHOWN is needed)"
                    );
                }
                Ok(())
            }
            Err(errno) => Err(fact(errno)),
        }
    }
}
