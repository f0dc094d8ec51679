//! Makes a hard link of a file. Of a symlink it links the symlink itself.

use rustix::fs::AtFlags;

use crate::backend::{Durability, GuardRef, VfsError, VfsResult};

use super::make_dir::access;
use super::resolve::Access;
use super::root::OpenRoot;
use super::system::guarded;

impl OpenRoot {
    pub(super) fn hard_link(&self, from: &[u8], to: &[u8], durability: Durability, guard: &GuardRef) -> VfsResult<()> {
        if !self.shared.capability.hard_links {
            return Err(VfsError::Unsupported("this storage has no hard links"));
        }
        let from = self.spot(from, Access::Names, guard)?;
        let to = self.spot(to, access(durability), guard)?;
        guarded(guard, || {
            rustix::fs::linkat(&from.folder, &from.name[..], &to.folder, &to.name[..], AtFlags::empty())
        })?;
        self.shared.settle_folder(&to.folder, durability, guard)
    }
}
