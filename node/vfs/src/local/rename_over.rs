//! posix-rename: replaces a file at the target, never by an exchange: killed after one and repeated by the client, it would bring
//! the old file back and remove the new one (`PROTOCOL.md` 8.3).

use std::sync::Arc;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::backend::{Durability, FileKind, GuardRef, Use, VfsError, VfsResult};

use super::capture::CaughtFile;
use super::rename::rename_plainly;
use super::resolve::{Access, Spot};
use super::root::OpenRoot;
use super::staging::StagingFolder;
use super::system::{attempt, fact, kind};

/// Each further try needs another session to change a name between two system calls.
const TRIES: usize = 64;

impl OpenRoot {
    pub(super) fn rename_over(
        &self,
        from: &[u8],
        to: &[u8],
        epoch: u64,
        durability: Durability,
        guard: &GuardRef,
    ) -> VfsResult<Option<CaughtFile>> {
        let from = self.spot(from, Access::Sync, guard)?;
        let to = self.spot(to, Access::Sync, guard)?;
        for _ in 0..TRIES {
            let moved = self.judge_move(&from, &to, guard)?;
            let old = to.look(guard)?.as_ref().map(kind);
            if let Some(old) = old {
                self.judge(&to.folder, &to.name, Use::Replace(old), guard)?;
            }
            let replaced = match old {
                None => match self.move_to_free_name(&from, &to, guard) {
                    Err(VfsError::Exists) => continue,
                    Err(VfsError::Unsupported(_)) => rename_plainly(&from, &to, guard).map(|()| None),
                    other => other.map(|()| None),
                },
                // Folders are not counted; the kernel refuses one over a file and a file over one.
                Some(FileKind::Directory) if moved != FileKind::Directory => Err(VfsError::IsDirectory),
                Some(FileKind::Directory) => rename_plainly(&from, &to, guard).map(|()| None),
                Some(_) if moved == FileKind::Directory => Err(VfsError::NotDirectory),
                Some(_) => match self.replace_file(&from, &to, epoch, durability, guard)? {
                    None => continue,
                    caught => Ok(caught),
                },
            }?;
            self.settle_rename(&from, &to, durability, guard)?;
            return Ok(replaced);
        }
        Err(VfsError::Io(std::io::Error::other("the names change as often as they are looked at")))
    }

    /// `None`: the target went away, look again.
    fn replace_file(
        &self,
        from: &Spot,
        to: &Spot,
        epoch: u64,
        durability: Durability,
        guard: &GuardRef,
    ) -> VfsResult<Option<CaughtFile>> {
        let staging = self.staging(epoch, guard)?;
        let Some(link) = self.link_into(&staging, to, guard)? else { return Ok(None) };
        if let Err(error) = rename_plainly(from, to, guard) {
            if let Some(link) = link {
                let _ = rustix::fs::unlinkat(&staging.folder, link, AtFlags::empty());
            }
            return Err(error);
        }
        let unsynced = match durability {
            Durability::Close => Vec::new(),
            Durability::None => vec![to.folder.clone(), from.folder.clone()],
        };
        Ok(Some(CaughtFile::new(staging, link, unsynced)))
    }

    /// `None`: the target went away. `Some(None)`: it cannot be linked here, so it is replaced without a credit.
    fn link_into(
        &self,
        staging: &Arc<StagingFolder>,
        to: &Spot,
        guard: &GuardRef,
    ) -> VfsResult<Option<Option<String>>> {
        if !self.shared.capability.hard_links {
            return Ok(Some(None));
        }
        let link = staging.fresh_name('c');
        match attempt(guard, || rustix::fs::linkat(&to.folder, &to.name[..], &staging.folder, &link, AtFlags::empty()))?
        {
            Ok(()) => Ok(Some(Some(link))),
            Err(Errno::NOENT | Errno::STALE) => match staging.missing(guard) {
                VfsError::NotFound => Ok(None),
                error => Err(error),
            },
            // Too many links, or the system forbids links to others' files; or a folder came to the name: the rename tells.
            Err(Errno::MLINK | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => Ok(Some(None)),
            Err(errno) => Err(fact(errno)),
        }
    }
}
