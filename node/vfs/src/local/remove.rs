//! Removes a file or symlink: it is caught in staging, so that what is credited is what was removed.

use crate::backend::{Durability, FileKind, GuardRef, VfsError, VfsResult};

use super::capture::CaughtFile;
use super::exchange::keep_aside;
use super::place::place_new;
use super::resolve::{Access, Spot};
use super::root::OpenRoot;
use super::staging::StagingFolder;
use super::system::{guarded, kind, look_at};

impl OpenRoot {
    pub(super) fn remove(
        &self,
        path: &[u8],
        epoch: u64,
        durability: Durability,
        guard: &GuardRef,
    ) -> VfsResult<CaughtFile> {
        let spot = self.spot(path, Access::Sync, guard)?;
        if kind(&spot.stat(guard)?) == FileKind::Directory {
            return Err(VfsError::IsDirectory);
        }
        let staging = self.staging(epoch, guard)?;
        let name = staging.fresh_name('c');
        // Plain: no-replace is not needed for a name that nobody else uses.
        guarded(guard, || rustix::fs::renameat(&spot.folder, &spot.name[..], &staging.folder, &name)).map_err(
            |error| match error {
                VfsError::NotFound => staging.missing(guard),
                other => other,
            },
        )?;
        self.require_file(&spot, &staging, &name, guard)?;
        #[cfg(feature = "planted-bugs")]
        if super::CREDITS_BEFORE_SYNC.load(std::sync::atomic::Ordering::Relaxed) {
            return Ok(CaughtFile::new(staging, Some(name), Vec::new()));
        }
        let unsynced = match durability {
            Durability::Close => {
                self.shared.sync_folder(&spot.folder, guard)?;
                Vec::new()
            }
            Durability::None => vec![spot.folder],
        };
        Ok(CaughtFile::new(staging, Some(name), unsynced))
    }

    /// A directory may have been moved to the name since it was looked at: it goes back.
    fn require_file(&self, spot: &Spot, staging: &StagingFolder, name: &str, guard: &GuardRef) -> VfsResult<()> {
        let caught = look_at(guard, &staging.folder, name.as_bytes())?;
        if caught.is_none_or(|stat| kind(&stat) != FileKind::Directory) {
            return Ok(());
        }
        let held = (&staging.folder, name.as_bytes());
        if place_new(guard, &self.shared.capability, held, spot.place()).is_err() {
            keep_aside(&self.shared, held, "a directory was caught by a remove and its name is taken", guard)?;
        }
        Err(VfsError::IsDirectory)
    }
}
