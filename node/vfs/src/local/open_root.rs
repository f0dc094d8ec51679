//! Opens an account's root, making its folder if it is not there; and looks whether a root holds anything.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::fs::{Dir, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::backend::{GuardRef, NoGuard, Owner, VfsError, VfsResult};

use super::Shared;
use super::ours::is_ours;
use super::owner::Ownership;
use super::resolve::check_path;
use super::root::OpenRoot;
use super::system::{attempt, fact, guarded, identity, stat_of};

/// `path` is relative to the storage; empty is the storage's own folder.
pub(super) fn open_root(shared: &Arc<Shared>, path: &str, account: u64, owner: Owner) -> VfsResult<OpenRoot> {
    let guard = NoGuard::shared();
    let ours = shared.ours(&guard)?;
    let ownership = Ownership::new(owner);
    let folder = make_folders(shared, path, &ownership, &guard)?;
    let stat = stat_of(&guard, &folder)?;
    require_same_mount(shared, &ours, &folder, path, &guard)?;
    let hides = if path.is_empty() { Some(identity(&stat_of(&guard, &ours)?)) } else { None };
    Ok(OpenRoot {
        shared: shared.clone(),
        account,
        folder,
        identity: identity(&stat),
        hides,
        ownership,
        staging: Mutex::new(None),
    })
}

/// Anything but our own folder counts.
pub(super) fn is_root_used(shared: &Shared, path: &str) -> VfsResult<bool> {
    let guard = NoGuard::shared();
    let Some(folder) = find_root(shared, path, &guard)? else { return Ok(false) };
    let mut listing = Dir::new(folder).map_err(fact)?;
    while let Some(entry) = listing.read() {
        let entry = entry.map_err(fact)?;
        let name = entry.file_name().to_bytes();
        let is_skipped = matches!(name, b"." | b"..") || (path.is_empty() && is_ours(name));
        if !is_skipped {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A descriptor of its own of an existing root.
pub(super) fn find_root(shared: &Shared, path: &str, guard: &GuardRef) -> VfsResult<Option<OwnedFd>> {
    check_root_path(path)?;
    let mut folder = enter(&shared.folder, ".", guard)?;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        folder = match folder {
            Some(folder) => enter(&folder, part, guard)?,
            None => return Ok(None),
        };
    }
    Ok(folder)
}

fn make_folders(shared: &Shared, path: &str, ownership: &Ownership, guard: &GuardRef) -> VfsResult<Arc<OwnedFd>> {
    check_root_path(path)?;
    let (mut folder, mut was_made) = (shared.folder.clone(), false);
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let entered = enter_or_make(&folder, part, guard)?;
        (folder, was_made) = (Arc::new(entered.0), entered.1);
    }
    // The folders above it may be others' roots.
    if was_made {
        ownership.give(&folder, guard)?;
    }
    Ok(folder)
}

fn check_root_path(path: &str) -> VfsResult<()> {
    check_path(path.as_bytes())?;
    let first = path.split('/').next().unwrap_or_default();
    if is_ours(first.as_bytes()) {
        return Err(VfsError::Invalid("a root may not lie in .flotilla"));
    }
    Ok(())
}

/// Says whether the folder was made.
fn enter_or_make(parent: &OwnedFd, name: &str, guard: &GuardRef) -> VfsResult<(OwnedFd, bool)> {
    if let Some(folder) = enter(parent, name, guard)? {
        return Ok((folder, false));
    }
    match attempt(guard, || rustix::fs::mkdirat(parent, name, Mode::RWXU))? {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(fact(errno)),
    }
    let folder = enter(parent, name, guard)?.ok_or(VfsError::NotFound)?;
    guarded(guard, || rustix::fs::fsync(parent))?;
    Ok((folder, true))
}

/// Links are refused on the way to a root: a client who owns a folder above it could turn them elsewhere.
fn enter(parent: impl AsFd, name: &str, guard: &GuardRef) -> VfsResult<Option<OwnedFd>> {
    // Without O_NOFOLLOW, so that a link answers ELOOP and not ENOTDIR; NO_SYMLINKS refuses it.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    match attempt(guard, || rustix::fs::openat2(&parent, name, flags, Mode::empty(), resolve))? {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::LOOP) => Err(VfsError::StorageRefused(format!("{name}: a symbolic link on the way to a root"))),
        Err(Errno::XDEV) => Err(other_mount(name)),
        Err(errno) => Err(fact(errno)),
    }
}

/// Subvolumes show no mount of their own, but another device; renames between them fail.
fn require_same_mount(
    shared: &Shared,
    ours: &OwnedFd,
    folder: &OwnedFd,
    path: &str,
    guard: &GuardRef,
) -> VfsResult<()> {
    let (root, staging) = (stat_of(guard, folder)?, stat_of(guard, ours)?);
    let is_same = root.stx_mnt_id == shared.mount
        && root.stx_mnt_id == staging.stx_mnt_id
        && (root.stx_dev_major, root.stx_dev_minor) == (staging.stx_dev_major, staging.stx_dev_minor);
    if is_same { Ok(()) } else { Err(other_mount(path)) }
}

fn other_mount(what: &str) -> VfsError {
    VfsError::StorageRefused(format!(
        "{what}: another mount or volume than the storage's; make it a storage of its own"
    ))
}
