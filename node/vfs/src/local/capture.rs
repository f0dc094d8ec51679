//! What a remove or replace took from its name: measured after its folder was synced, then unlinked (`PROTOCOL.md` 6.1).

use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::backend::{Caught, CreditClaim, FileKind, GuardRef, VfsResult};

use super::staging::StagingFolder;
use super::system::{attempt, blocking, fact, guarded, inode_name, kind, look_at};

/// A file in a staging folder that has no other use any more.
pub(super) struct CaughtFile {
    folder: Arc<StagingFolder>,
    /// `None` where the storage could not keep hold of what was replaced.
    name: Option<String>,
    /// Folders to be synced before anything is credited.
    unsynced: Vec<Arc<OwnedFd>>,
}

impl CaughtFile {
    pub fn new(folder: Arc<StagingFolder>, name: Option<String>, unsynced: Vec<Arc<OwnedFd>>) -> Self {
        Self { folder, name, unsynced }
    }

    fn measure(&self, guard: &GuardRef) -> VfsResult<Option<CreditClaim>> {
        for folder in &self.unsynced {
            guarded(guard, || rustix::fs::fsync(folder))?;
        }
        let Some(name) = self.name.as_deref() else { return Ok(None) };
        // A fence may have been quicker: what it unlinked stays charged until a scan.
        let Some(stat) = look_at(guard, &self.folder.folder, name.as_bytes())? else { return Ok(None) };
        let bytes = match kind(&stat) {
            FileKind::File => Some(stat.stx_size),
            FileKind::Symlink => Some(0),
            FileKind::Directory | FileKind::Other => None,
        };
        match attempt(guard, || rustix::fs::unlinkat(&self.folder.folder, name, AtFlags::empty()))? {
            Ok(()) => {}
            // It was unlinked by a fence between the two calls: measured by us alone, for nobody else credits it.
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(fact(errno)),
        }
        let is_last_link = stat.stx_nlink == 1;
        Ok(bytes.filter(|_| is_last_link).map(|bytes| CreditClaim { bytes, files: 1, inode: inode_name(&stat) }))
    }
}

#[async_trait]
impl Caught for CaughtFile {
    async fn measure_and_unlink(self: Box<Self>, guard: &GuardRef) -> VfsResult<Option<CreditClaim>> {
        let guard = guard.clone();
        blocking(move || self.measure(&guard)).await
    }
}
