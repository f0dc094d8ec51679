//! Opens a regular file in place, or makes one at its name with EXCL.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

use crate::backend::{FileKind, GuardRef, InodeName, OpenHow, VfsError, VfsResult};

use super::attributes::fix_mode;
use super::file::LocalFile;
use super::resolve::{Access, HOPS};
use super::root::OpenRoot;
use super::system::{MODE_BITS, UMASK, inode_name, kind, stat_of};

impl OpenRoot {
    pub(super) fn open(&self, path: &[u8], how: OpenHow, guard: &GuardRef) -> VfsResult<LocalFile> {
        if how.exclusive { self.make_exclusive(path, how, guard) } else { self.open_existing(path, how, guard) }
    }

    /// 8.4: made at its name, written in place. Its name is synced with its first `sync`.
    fn make_exclusive(&self, path: &[u8], how: OpenHow, guard: &GuardRef) -> VfsResult<LocalFile> {
        let spot = self.spot(path, Access::Sync, guard)?;
        let mode = how.mode & MODE_BITS & !UMASK;
        let flags = flags(how) | OFlags::CREATE | OFlags::EXCL;
        let file = spot.open(flags, Mode::from_raw_mode(mode), guard)?;
        // Never unlinked by its name: that may be another's file by now.
        let inode = self.dress(&file, mode, guard).map_err(VfsError::made)?;
        Ok(LocalFile::made(self.shared.clone(), file, inode, spot.folder))
    }

    fn dress(&self, file: &OwnedFd, mode: u32, guard: &GuardRef) -> VfsResult<InodeName> {
        fix_mode(file, mode, guard)?;
        self.ownership.give(file, guard)?;
        Ok(inode_name(&stat_of(guard, file)?))
    }

    fn open_existing(&self, path: &[u8], how: OpenHow, guard: &GuardRef) -> VfsResult<LocalFile> {
        let file = self.open_followed(path, how, guard)?;
        let stat = stat_of(guard, &file)?;
        match kind(&stat) {
            FileKind::File => Ok(LocalFile::new(self.shared.clone(), file, inode_name(&stat))),
            FileKind::Directory => Err(VfsError::IsDirectory),
            _ => Err(VfsError::SpecialFile),
        }
    }

    /// The open itself refuses a symlink; it is then read and followed, so no file behind a link is opened unseen.
    fn open_followed(&self, path: &[u8], how: OpenHow, guard: &GuardRef) -> VfsResult<OwnedFd> {
        if path.is_empty() {
            return Err(VfsError::IsDirectory);
        }
        let mut spot = self.spot(path, Access::Names, guard)?;
        for _ in 0..=HOPS {
            match spot.open(flags(how), Mode::empty(), guard) {
                Err(VfsError::LinkLoop) => spot = self.hop(&spot, Access::Names, guard)?,
                other => return other,
            }
        }
        Err(VfsError::LinkLoop)
    }
}

fn flags(how: OpenHow) -> OFlags {
    let access = match (how.read, how.write || how.append) {
        (_, false) => OFlags::RDONLY,
        (false, true) => OFlags::WRONLY,
        (true, true) => OFlags::RDWR,
    };
    if how.append { access | OFlags::APPEND } else { access }
}
