//! Gives a file a name that must be free, by the means that the file system has.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, RenameFlags};

use crate::backend::{Capability, GuardRef, VfsError, VfsResult};

use super::system::guarded;

/// A name in an open folder.
pub(super) type Place<'a> = (&'a OwnedFd, &'a [u8]);

/// Moves a file (not a directory) to a free name: no-replace rename, else link and unlink. `Exists` if the name is taken,
/// `Unsupported` where neither exists.
pub(super) fn place_new(guard: &GuardRef, capability: &Capability, from: Place<'_>, to: Place<'_>) -> VfsResult<()> {
    if capability.no_replace {
        return guarded(guard, || rustix::fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE));
    }
    if !capability.hard_links {
        return Err(VfsError::Unsupported("this storage can neither refuse to replace a name nor link"));
    }
    guarded(guard, || rustix::fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty()))?;
    // It has its name. The second link in our own folder is cleaned up without asking; if that fails it costs a later credit, not the file.
    if let Err(errno) = rustix::fs::unlinkat(from.0, from.1, AtFlags::empty()) {
        tracing::warn!(error = %errno, "a second link of a placed file stays in staging");
    }
    Ok(())
}
