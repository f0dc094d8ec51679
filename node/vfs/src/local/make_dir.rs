//! Makes a folder.

use rustix::fs::Mode;

use crate::backend::{Durability, FileKind, GuardRef, VfsResult};

use super::resolve::Access;
use super::root::OpenRoot;
use super::system::{MODE_BITS, UMASK, guarded, identity, look_at};

impl OpenRoot {
    pub(super) fn make_dir(&self, path: &[u8], mode: u32, durability: Durability, guard: &GuardRef) -> VfsResult<()> {
        let spot = self.spot(path, access(durability), guard)?;
        let mode = Mode::from_raw_mode(mode & MODE_BITS & !UMASK);
        guarded(guard, || rustix::fs::mkdirat(&spot.folder, &spot.name[..], mode))?;
        self.ownership.give_name(spot.place(), FileKind::Directory, guard)?;
        match durability {
            Durability::Close => self.shared.sync_folder(&spot.folder, guard),
            Durability::None => match look_at(guard, &spot.folder, &spot.name)? {
                Some(made) => self.shared.note_unsynced(identity(&made), guard),
                None => Ok(()),
            },
        }
    }
}

/// What a change needs its folder opened for.
pub(super) fn access(durability: Durability) -> Access {
    match durability {
        Durability::Close => Access::Sync,
        Durability::None => Access::Names,
    }
}
