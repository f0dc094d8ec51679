//! Gives what a session makes to its user's uid and gid.

use std::os::fd::OwnedFd;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, Gid, Uid};
use rustix::io::Errno;

use crate::backend::{FileKind, GuardRef, Owner, VfsError, VfsResult};

use super::place::Place;
use super::resolve::open_path_at;
use super::system::{attempt, fact, kind, stat_of};

/// CAP_CHOWN, CAP_DAC_OVERRIDE and CAP_FOWNER (`linux/capability.h`): to give files away, and then to write them still and change
/// their modes and times.
const NEEDED: u64 = 1 << 0 | 1 << 1 | 1 << 3;

/// Whether the process holds all of them; read once.
static MAY_GIVE: LazyLock<bool> =
    LazyLock::new(|| std::fs::read_to_string("/proc/self/status").is_ok_and(|status| holds_needed(&status)));

fn holds_needed(status: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|held| u64::from_str_radix(held.trim(), 16).ok()).is_some_and(|held| held & NEEDED == NEEDED)
}

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
        if uid.is_none() && gid.is_none() {
            return None;
        }
        if !*MAY_GIVE {
            self.say("a capability is missing");
            return None;
        }
        Some((uid.map(Uid::from_raw), gid.map(Gid::from_raw)))
    }

    /// An open file or folder that was just made.
    pub fn give(&self, made: &OwnedFd, guard: &GuardRef) -> VfsResult<()> {
        let Some((uid, gid)) = self.ids() else { return Ok(()) };
        match attempt(guard, || rustix::fs::chownat(made, c"", uid, gid, AtFlags::EMPTY_PATH))? {
            Ok(()) => Ok(()),
            Err(errno @ (Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::OPNOTSUPP | Errno::ROFS)) => {
                self.say(&errno.to_string());
                Ok(())
            }
            Err(errno) => Err(fact(errno)),
        }
    }

    /// A folder or symlink that was just made at a name. Others may write there: what is opened is given only if it is still ours.
    pub fn give_name(&self, (folder, name): Place<'_>, made: FileKind, guard: &GuardRef) -> VfsResult<()> {
        if self.ids().is_none() {
            return Ok(());
        }
        let found = match open_path_at(folder, name, guard) {
            Ok(found) => found,
            // Gone already, or another's link in its place.
            Err(VfsError::NotFound | VfsError::LinkLoop) => return Ok(()),
            Err(error) => return Err(error),
        };
        let stat = stat_of(guard, &found)?;
        if kind(&stat) != made || stat.stx_uid != rustix::process::geteuid().as_raw() {
            return Ok(());
        }
        self.give(&found, guard)
    }

    fn say(&self, why: &str) {
        if !self.said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                uid = self.owner.uid,
                gid = self.owner.gid,
                why,
                "files stay the process's own: giving them to the user's uid and gid needs CAP_CHOWN, CAP_DAC_OVERRIDE and \
                 CAP_FOWNER (docs/operate.md, Under systemd)"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ownership_needs_three_capabilities() {
        for (effective, may) in [("000001ffffffffff", true), ("000000000000000b", true), ("0000000000000001", false)] {
            assert_eq!(holds_needed(&format!("Name:\tx\nCapPrm:\tb\nCapEff:\t{effective}\n")), may, "{effective}");
        }
        for unreadable in ["", "CapPrm:\t000001ffffffffff\n", "CapEff:\tall\n"] {
            assert!(!holds_needed(unreadable));
        }
    }
}
