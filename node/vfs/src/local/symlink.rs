//! Makes and reads symlinks. Targets are stored as given; resolving them never leaves the root.

use crate::backend::{Durability, FileKind, GuardRef, VfsError, VfsResult};

use super::make_dir::access;
use super::resolve::Access;
use super::root::OpenRoot;
use super::system::{attempt, fact, guarded};
use rustix::io::Errno;

impl OpenRoot {
    pub(super) fn symlink(
        &self,
        path: &[u8],
        target: &[u8],
        durability: Durability,
        guard: &GuardRef,
    ) -> VfsResult<()> {
        if target.is_empty() || target.contains(&0) {
            return Err(VfsError::Invalid("a symlink's target is empty or contains NUL"));
        }
        let spot = self.spot(path, access(durability), guard)?;
        guarded(guard, || rustix::fs::symlinkat(target, &spot.folder, &spot.name[..]))?;
        let given = self.ownership.give_name(spot.place(), FileKind::Symlink, guard);
        given.and_then(|()| self.shared.settle_folder(&spot.folder, durability, guard)).map_err(VfsError::made)
    }

    pub(super) fn read_link(&self, path: &[u8], guard: &GuardRef) -> VfsResult<Vec<u8>> {
        let spot = self.spot(path, Access::Names, guard)?;
        match attempt(guard, || rustix::fs::readlinkat(&spot.folder, &spot.name[..], Vec::new()))? {
            Ok(target) => Ok(target.into_bytes()),
            Err(Errno::INVAL) => Err(VfsError::Invalid("not a symbolic link")),
            Err(errno) => Err(fact(errno)),
        }
    }
}
