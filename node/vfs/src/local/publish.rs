//! Gives an upload its name and catches what had it before (`PROTOCOL.md` 8.3, 8.6).

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use crate::backend::{Durability, FileKind, GuardRef, Use, VfsError, VfsResult};

use super::attributes::take_over;
use super::capture::CaughtFile;
use super::exchange::{Own, undo};
use super::place::place_new;
use super::resolve::open_path_at;
use super::stage::Target;
use super::staged::{Stage, StagedFile};
use super::system::{attempt, fact, guarded, kind, look_at};

/// Each further try needs another session to change the name between two system calls.
const TRIES: usize = 64;

/// What one try at the name came to.
enum Tried {
    /// It stands there; in staging lies what it replaced, under this name.
    Done(Option<String>),
    /// It stands there; what it replaced could not be kept hold of.
    Uncaught,
    /// It was published, and is already gone again.
    Passed,
    /// The name changed under us.
    Again,
}

impl StagedFile {
    pub(super) fn publish_now(&self, durability: Durability, guard: &GuardRef) -> VfsResult<Option<CaughtFile>> {
        let _turn = self.take_turn();
        let file = self.descriptor()?;
        if self.stage() != Stage::Staged {
            return Err(VfsError::Invalid("the upload is published"));
        }
        let target = self.target();
        let mut is_synced = false;
        for _ in 0..TRIES {
            let caught = match self.try_name(&file, &target, durability, &mut is_synced, guard)? {
                Tried::Again => continue,
                Tried::Passed | Tried::Done(None) => None,
                Tried::Done(name) => Some(name),
                Tried::Uncaught => Some(None),
            };
            self.root.shared.settle_folder(&target.folder, durability, guard)?;
            return Ok(caught.map(|name| self.caught(name, &target, durability)));
        }
        Err(VfsError::Io(std::io::Error::other("the name changes as often as it is looked at")))
    }

    /// Under durability `none`, a free name needs no sync. `None`: the name may be taken, or somebody else is about it.
    pub(super) fn publish_without_waiting(&self, guard: &GuardRef) -> Option<VfsResult<()>> {
        let _turn = self.try_turn()?;
        if !self.root.shared.capability.no_replace || self.stage() != Stage::Staged {
            return None;
        }
        if let Err(error) = self.descriptor() {
            return Some(Err(error));
        }
        let target = self.target();
        match look_at(guard, &target.folder, &target.name) {
            Ok(None) => {}
            Ok(Some(_)) => return None,
            Err(error) => return Some(Err(error)),
        }
        match self.take_free_name(&target, guard) {
            Ok(Tried::Done(None)) => Some(Ok(())),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        }
    }

    fn caught(&self, name: Option<String>, target: &Target, durability: Durability) -> CaughtFile {
        let unsynced = match durability {
            Durability::Close => Vec::new(),
            Durability::None => vec![target.folder.clone()],
        };
        CaughtFile::new(self.staging.clone(), name, unsynced)
    }

    fn try_name(
        &self,
        file: &OwnedFd,
        target: &Target,
        durability: Durability,
        is_synced: &mut bool,
        guard: &GuardRef,
    ) -> VfsResult<Tried> {
        match look_at(guard, &target.folder, &target.name)?.as_ref().map(kind) {
            None => {
                if durability == Durability::Close {
                    sync_once(file, is_synced, guard)?;
                }
                self.take_free_name(target, guard)
            }
            Some(FileKind::Directory) => Err(VfsError::IsDirectory),
            Some(FileKind::Other) => Err(VfsError::SpecialFile),
            Some(old @ (FileKind::File | FileKind::Symlink)) => {
                self.root.judge(&target.folder, &target.name, Use::Replace(old), guard)?;
                *is_synced &= !self.take_attributes(file, target, guard)?;
                sync_once(file, is_synced, guard)?;
                self.replace(target, guard)
            }
        }
    }

    fn take_free_name(&self, target: &Target, guard: &GuardRef) -> VfsResult<Tried> {
        let staged = (&self.staging.folder, self.name.as_bytes());
        match place_new(guard, &self.root.shared.capability, staged, target.place()) {
            Ok(()) => {
                self.set_published(true);
                Ok(Tried::Done(None))
            }
            Err(VfsError::Exists) => Ok(Tried::Again),
            Err(VfsError::NotFound) => Err(self.why_missing(guard)),
            Err(VfsError::Unsupported(_)) => self.rename_plainly(target, None, guard),
            Err(error) => Err(error),
        }
    }

    /// ENOENT of a move out of staging: the fence took the file, or the target's folder was removed.
    fn why_missing(&self, guard: &GuardRef) -> VfsError {
        match look_at(guard, &self.staging.folder, self.name.as_bytes()) {
            Ok(Some(_)) => VfsError::NotFound,
            Ok(None) => VfsError::Fenced,
            Err(error) => error,
        }
    }

    /// Says whether the upload was changed by it.
    fn take_attributes(&self, file: &OwnedFd, target: &Target, guard: &GuardRef) -> VfsResult<bool> {
        match open_path_at(&target.folder, &target.name, guard) {
            Ok(old) => take_over(&old, file, self.chosen(), guard),
            // Gone, or a symlink (which has none to copy).
            Err(VfsError::NotFound | VfsError::LinkLoop) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn replace(&self, target: &Target, guard: &GuardRef) -> VfsResult<Tried> {
        let capability = &self.root.shared.capability;
        if capability.exchange {
            self.exchange(target, guard)
        } else if capability.hard_links {
            self.link_and_rename(target, guard)
        } else {
            self.rename_plainly(target, None, guard)
        }
    }

    fn exchange(&self, target: &Target, guard: &GuardRef) -> VfsResult<Tried> {
        let (held, name) = ((&self.staging.folder, self.name.as_bytes()), target.place());
        match attempt(guard, || rustix::fs::renameat_with(held.0, held.1, name.0, name.1, RenameFlags::EXCHANGE))? {
            Ok(()) => self.set_published(true),
            Err(Errno::NOENT) => return self.again_unless_fenced(guard),
            Err(errno) => return Err(fact(errno)),
        }
        let Some(came_back) = look_at(guard, held.0, held.1)? else { return Ok(Tried::Uncaught) };
        if kind(&came_back) != FileKind::Directory {
            return Ok(Tried::Done(Some(self.name.clone())));
        }
        match undo(&self.root.shared, held, name, self.own, guard)? {
            Own::Gone => Ok(Tried::Passed),
            Own::Back => {
                self.set_published(false);
                Err(VfsError::IsDirectory)
            }
        }
    }

    fn again_unless_fenced(&self, guard: &GuardRef) -> VfsResult<Tried> {
        match self.why_missing(guard) {
            VfsError::NotFound => Ok(Tried::Again),
            error => Err(error),
        }
    }

    /// Where there is no exchange: the old file gets a second link in staging, then is replaced. If another file came to the name
    /// in between, that one is not credited: over-counted, never under.
    fn link_and_rename(&self, target: &Target, guard: &GuardRef) -> VfsResult<Tried> {
        let (name, link) = (target.place(), self.staging.fresh_name('c'));
        let linked =
            attempt(guard, || rustix::fs::linkat(name.0, name.1, &self.staging.folder, &link, AtFlags::empty()))?;
        match linked {
            Ok(()) => self.rename_plainly(target, Some(link), guard),
            Err(Errno::NOENT | Errno::STALE) => self.again_unless_fenced(guard),
            // Too many links, or the system forbids links to others' files.
            Err(Errno::MLINK | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => {
                self.rename_plainly(target, None, guard)
            }
            Err(errno) => Err(fact(errno)),
        }
    }

    fn rename_plainly(&self, target: &Target, link: Option<String>, guard: &GuardRef) -> VfsResult<Tried> {
        let (staged, name) = ((&self.staging.folder, self.name.as_bytes()), target.place());
        let renamed = guarded(guard, || rustix::fs::renameat(staged.0, staged.1, name.0, name.1));
        if renamed.is_err() {
            self.unlink_again(link.as_deref());
        }
        match renamed {
            Ok(()) => {
                self.set_published(true);
                Ok(link.map_or(Tried::Uncaught, |link| Tried::Done(Some(link))))
            }
            Err(VfsError::NotFound) => Err(self.why_missing(guard)),
            Err(error) => Err(error),
        }
    }

    /// Cleaning up needs no guard; what stays the fence removes.
    fn unlink_again(&self, link: Option<&str>) {
        if let Some(link) = link {
            let _ = rustix::fs::unlinkat(&self.staging.folder, link, AtFlags::empty());
        }
    }
}

/// A further try at a busy name need not wait for the disk again.
fn sync_once(file: &OwnedFd, is_synced: &mut bool, guard: &GuardRef) -> VfsResult<()> {
    if !*is_synced {
        guarded(guard, || rustix::fs::fsync(file))?;
        *is_synced = true;
    }
    Ok(())
}
