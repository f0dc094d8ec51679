//! Begins an upload in the epoch's staging folder, and finds the name that it will have (`PROTOCOL.md` 8.2).

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};

use crate::backend::{FileKind, GuardRef, InodeName, VfsError, VfsResult};

use super::attributes::fix_mode;
use super::owner::Ownership;
use super::real_path::join;
use super::resolve::{Access, UPLOAD_HOPS};
use super::root::OpenRoot;
use super::staged::StagedFile;
use super::staging::StagingFolder;
use super::system::{MODE_BITS, UMASK, identity, inode_name, kind, stat_of};

/// Where an upload is going to be: the folder stays the same if it is moved meanwhile, as with any open file.
#[derive(Clone)]
pub(super) struct Target {
    pub folder: Arc<OwnedFd>,
    pub folder_inode: InodeName,
    pub name: Vec<u8>,
    /// Canonical, relative to the root, when it was resolved.
    pub path: Vec<u8>,
}

impl Target {
    pub fn place(&self) -> (&OwnedFd, &[u8]) {
        (&self.folder, &self.name)
    }
}

impl OpenRoot {
    pub(super) fn stage(
        self: &Arc<Self>,
        path: &[u8],
        mode: u32,
        epoch: u64,
        guard: &GuardRef,
    ) -> VfsResult<Arc<StagedFile>> {
        let target = self.target(path, guard)?;
        let staging = self.staging(epoch, guard)?;
        let name = staging.fresh_name('u');
        let file = create(&staging, &name, mode & MODE_BITS & !UMASK, &self.ownership, guard)?;
        let own = identity(&stat_of(guard, &file)?);
        let staged = Arc::new(StagedFile::new(self.clone(), staging.clone(), name.clone(), own, file, target));
        staging.add(&name, &staged);
        Ok(staged)
    }

    /// The final name, symlinks followed. Refused early if what is there cannot be replaced by a file.
    pub(super) fn target(&self, path: &[u8], guard: &GuardRef) -> VfsResult<Target> {
        if path.is_empty() {
            return Err(VfsError::IsDirectory);
        }
        let found = self.follow(path, Access::Sync, UPLOAD_HOPS, guard)?;
        match found.stat.as_ref().map(kind) {
            None | Some(FileKind::File) => {}
            Some(FileKind::Directory) => return Err(VfsError::IsDirectory),
            Some(FileKind::Symlink | FileKind::Other) => return Err(VfsError::SpecialFile),
        }
        let folder_inode = inode_name(&stat_of(guard, &found.spot.folder)?);
        let path = join(self.path_below(&found.spot.folder, guard)?, &found.spot.name);
        Ok(Target { folder: found.spot.folder, folder_inode, name: found.spot.name, path })
    }
}

fn create(
    staging: &StagingFolder,
    name: &str,
    mode: u32,
    ownership: &Ownership,
    guard: &GuardRef,
) -> VfsResult<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file =
        super::system::guarded(guard, || rustix::fs::openat(&staging.folder, name, flags, Mode::from_raw_mode(mode)))
            .map_err(|error| match error {
            VfsError::NotFound => staging.missing(guard),
            other => other,
        })?;
    if let Err(error) = fix_mode(&file, mode, guard).and_then(|()| ownership.give(&file, guard)) {
        let _ = rustix::fs::unlinkat(&staging.folder, name, AtFlags::empty());
        return Err(error);
    }
    Ok(file)
}
