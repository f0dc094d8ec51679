//! `.flotilla`: the folder beside the roots that is ours. It holds the marker, the staging folders and what was kept aside.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::backend::{GuardRef, VfsError, VfsResult};

use super::system::{attempt, fact, look_at};
use super::{Shared, marker};

pub(super) const OURS: &str = ".flotilla";
/// Directories that turned up where none of ours may be; an operator looks at them.
pub(super) const KEPT: &str = "kept";

/// How often making and entering a folder is tried that somebody else removes in between.
const TRIES: usize = 16;

/// Whether a name means our folder on any file system, ASCII case folded.
pub(super) fn is_ours(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(OURS.as_bytes())
}

pub(super) fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// Enters a folder of ours by its name; never through a link, never onto another mount.
pub(super) fn enter(guard: &GuardRef, parent: impl AsFd, name: &str) -> VfsResult<Option<OwnedFd>> {
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    match attempt(guard, || rustix::fs::openat2(&parent, name, folder_flags(), Mode::empty(), resolve))? {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(fact(errno)),
    }
}

/// Enters a folder of ours, making it (0700) if it is not there. Says whether it was made.
pub(super) fn enter_or_make(guard: &GuardRef, parent: impl AsFd, name: &str) -> VfsResult<(OwnedFd, bool)> {
    let mut made = false;
    for _ in 0..TRIES {
        if let Some(folder) = enter(guard, &parent, name)? {
            return Ok((folder, made));
        }
        match attempt(guard, || rustix::fs::mkdirat(&parent, name, Mode::RWXU))? {
            Ok(()) => made = true,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(fact(errno)),
        }
    }
    Err(VfsError::Io(std::io::Error::other(format!("folder {name} vanishes as often as it is made"))))
}

/// Runs a probe inside `.flotilla`, which is removed again if the probe had to make it: only the marker makes it stay.
pub(super) fn with_probe_folder<T>(storage: &OwnedFd, probe: impl Fn(BorrowedFd<'_>) -> VfsResult<T>) -> VfsResult<T> {
    let guard = crate::backend::NoGuard::shared();
    for _ in 0..TRIES {
        let (ours, made) = enter_or_make(&guard, storage, OURS)?;
        let probed = probe(ours.as_fd());
        if made {
            // Another node may have put its marker there meanwhile: then this fails, as it should.
            let _ = rustix::fs::unlinkat(storage, OURS, AtFlags::REMOVEDIR);
        }
        match probed {
            // Another node that probed the same new storage removed the folder under us.
            Err(VfsError::NotFound) => {}
            other => return other,
        }
    }
    Err(VfsError::Io(std::io::Error::other("the folder for probing vanishes as often as it is made")))
}

impl Shared {
    /// `.flotilla` of a storage that has its marker.
    pub(super) fn ours(&self, guard: &GuardRef) -> VfsResult<Arc<OwnedFd>> {
        if let Some(known) = self.known_ours() {
            return Ok(known);
        }
        let without_marker = || super::refused(&self.path, "there is no marker: the share may not be mounted");
        let ours = enter(guard, &self.folder, OURS)?.ok_or_else(without_marker)?;
        look_at(guard, &ours, marker::MARKER.as_bytes())?.ok_or_else(without_marker)?;
        let ours = Arc::new(ours);
        self.remember_ours(Some(ours.clone()));
        Ok(ours)
    }

    fn known_ours(&self) -> Option<Arc<OwnedFd>> {
        self.ours.lock().expect("no holder of this lock panics").clone()
    }

    pub(super) fn remember_ours(&self, ours: Option<Arc<OwnedFd>>) {
        *self.ours.lock().expect("no holder of this lock panics") = ours;
    }
}
