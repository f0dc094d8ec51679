//! Removes an empty folder.

use rustix::fs::AtFlags;

use crate::backend::{Durability, GuardRef, VfsResult};

use super::make_dir::access;
use super::root::OpenRoot;
use super::system::guarded;

impl OpenRoot {
    pub(super) fn remove_dir(&self, path: &[u8], durability: Durability, guard: &GuardRef) -> VfsResult<()> {
        let spot = self.spot(path, access(durability), guard)?;
        guarded(guard, || rustix::fs::unlinkat(&spot.folder, &spot.name[..], AtFlags::REMOVEDIR))?;
        self.shared.settle_folder(&spot.folder, durability, guard)
    }
}
