//! `setstat` by path and by handle: size, owner, mode, times, in this order (a change of owner clears mode bits).

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, Uid};

use crate::backend::{FileKind, GuardRef, SetStat, VfsError, VfsResult};

use super::resolve::{Access, Found, HOPS, check_path};
use super::root::OpenRoot;
use super::system::{MODE_BITS, descriptor_path, guarded, kind, stat_of};

impl OpenRoot {
    pub(super) fn set_stat(&self, path: &[u8], wanted: SetStat, guard: &GuardRef) -> VfsResult<()> {
        check_path(path)?;
        if path.is_empty() {
            return set_folder(&self.folder, wanted, guard);
        }
        match self.follow(path, Access::Names, HOPS, guard) {
            Ok(found) => set_found(&found, wanted, guard),
            Err(VfsError::IsDirectory) => {
                let folder = self.folder(path, Access::Names, guard)?;
                self.judge_itself(&folder, guard)?;
                set_folder(&folder, wanted, guard)
            }
            Err(error) => Err(error),
        }
    }
}

fn set_found(found: &Found, wanted: SetStat, guard: &GuardRef) -> VfsResult<()> {
    let file = found.spot.open_path(guard)?;
    match kind(&stat_of(guard, &file)?) {
        FileKind::File => {}
        FileKind::Directory if wanted.size.is_some() => return Err(VfsError::IsDirectory),
        FileKind::Directory => {}
        _ => return Err(VfsError::SpecialFile),
    }
    if let Some(size) = wanted.size {
        truncate_found(found, size, guard)?;
    }
    set_by_path(&file, wanted, guard)
}

/// The size needs a descriptor for writing; what is opened is checked again, it may be another file by now.
fn truncate_found(found: &Found, size: u64, guard: &GuardRef) -> VfsResult<()> {
    let file = found.spot.open(OFlags::WRONLY, Mode::empty(), guard)?;
    match kind(&stat_of(guard, &file)?) {
        FileKind::File => guarded(guard, || rustix::fs::ftruncate(&file, size)),
        _ => Err(VfsError::SpecialFile),
    }
}

fn set_folder(folder: &Arc<OwnedFd>, wanted: SetStat, guard: &GuardRef) -> VfsResult<()> {
    if wanted.size.is_some() {
        return Err(VfsError::IsDirectory);
    }
    set_by_path(folder, wanted, guard)
}

/// For descriptors of any kind, `O_PATH` too: the kernel's own path of the descriptor names the same inode for ever.
fn set_by_path(file: impl AsFd, wanted: SetStat, guard: &GuardRef) -> VfsResult<()> {
    let path = descriptor_path(file);
    if let Some((uid, gid)) = wanted.owner {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        guarded(guard, || rustix::fs::chownat(CWD, &path, Some(uid), Some(gid), AtFlags::empty()))?;
    }
    if let Some(mode) = wanted.mode {
        guarded(guard, || rustix::fs::chmodat(CWD, &path, mode_of(mode), AtFlags::empty()))?;
    }
    if let Some(times) = wanted.times {
        guarded(guard, || rustix::fs::utimensat(CWD, &path, &timestamps(times), AtFlags::empty()))?;
    }
    Ok(())
}

/// By an open file's descriptor.
pub(super) fn set_file(file: &OwnedFd, wanted: SetStat, guard: &GuardRef) -> VfsResult<()> {
    if let Some(size) = wanted.size {
        guarded(guard, || rustix::fs::ftruncate(file, size))?;
    }
    if let Some((uid, gid)) = wanted.owner {
        guarded(guard, || rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))))?;
    }
    if let Some(mode) = wanted.mode {
        guarded(guard, || rustix::fs::fchmod(file, mode_of(mode)))?;
    }
    if let Some(times) = wanted.times {
        guarded(guard, || rustix::fs::futimens(file, &timestamps(times)))?;
    }
    Ok(())
}

pub(super) fn mode_of(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & MODE_BITS)
}

fn timestamps((atime, mtime): (i64, i64)) -> Timestamps {
    let at = |seconds| Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: at(atime), last_modification: at(mtime) }
}
