//! Renames; fails if the target exists.

use rustix::fs::{AtFlags, RenameFlags};

use crate::backend::{Durability, FileKind, GuardRef, Use, VfsError, VfsResult};

use super::make_dir::access;
use super::resolve::Spot;
use super::root::OpenRoot;
use super::system::{guarded, identity, kind, look_at};

impl OpenRoot {
    pub(super) fn rename(&self, from: &[u8], to: &[u8], durability: Durability, guard: &GuardRef) -> VfsResult<()> {
        let from = self.spot(from, access(durability), guard)?;
        let to = self.spot(to, access(durability), guard)?;
        self.judge_move(&from, &to, guard)?;
        self.move_to_free_name(&from, &to, guard)?;
        self.settle_rename(&from, &to, durability, guard)
    }

    /// Lets the guard decide by the kind of what is there now, in the folders that are open: no link on the way is followed again.
    ///
    /// The last name itself may still change before it is renamed, for no call renames a file and nothing else. Who may not move
    /// folders can bring only one to it that they made there meanwhile; one with rules inside is refused under either kind.
    pub(super) fn judge_move(&self, from: &Spot, to: &Spot, guard: &GuardRef) -> VfsResult<FileKind> {
        let kind = kind(&from.stat(guard)?);
        self.judge(&from.folder, &from.name, Use::Move(kind), guard)?;
        self.judge(&to.folder, &to.name, Use::Move(kind), guard)?;
        Ok(kind)
    }

    pub(super) fn move_to_free_name(&self, from: &Spot, to: &Spot, guard: &GuardRef) -> VfsResult<()> {
        if self.shared.capability.no_replace {
            return guarded(guard, || {
                let flags = RenameFlags::NOREPLACE;
                rustix::fs::renameat_with(&from.folder, &from.name[..], &to.folder, &to.name[..], flags)
            });
        }
        match kind(&from.stat(guard)?) {
            FileKind::Directory => self.move_folder(from, to, guard),
            _ if self.shared.capability.hard_links => link_and_unlink(from, to, guard),
            _ => Err(VfsError::Unsupported("this storage can neither refuse to replace a name nor link")),
        }
    }

    /// A plain rename of a folder replaces at most an empty folder that was made since we looked.
    fn move_folder(&self, from: &Spot, to: &Spot, guard: &GuardRef) -> VfsResult<()> {
        if to.look(guard)?.is_some() {
            return Err(VfsError::Exists);
        }
        rename_plainly(from, to, guard)
    }

    /// Syncs both folders, the new one first, or notes that a moved folder was not synced.
    pub(super) fn settle_rename(
        &self,
        from: &Spot,
        to: &Spot,
        durability: Durability,
        guard: &GuardRef,
    ) -> VfsResult<()> {
        match durability {
            Durability::Close => {
                self.shared.sync_folder(&to.folder, guard)?;
                self.shared.sync_folder(&from.folder, guard)
            }
            Durability::None => match look_at(guard, &to.folder, &to.name)? {
                Some(moved) if kind(&moved) == FileKind::Directory => {
                    self.shared.note_unsynced(identity(&moved), guard)
                }
                _ => Ok(()),
            },
        }
    }
}

pub(super) fn rename_plainly(from: &Spot, to: &Spot, guard: &GuardRef) -> VfsResult<()> {
    guarded(guard, || rustix::fs::renameat(&from.folder, &from.name[..], &to.folder, &to.name[..]))
}

fn link_and_unlink(from: &Spot, to: &Spot, guard: &GuardRef) -> VfsResult<()> {
    guarded(guard, || rustix::fs::linkat(&from.folder, &from.name[..], &to.folder, &to.name[..], AtFlags::empty()))?;
    guarded(guard, || rustix::fs::unlinkat(&from.folder, &from.name[..], AtFlags::empty()))
}
