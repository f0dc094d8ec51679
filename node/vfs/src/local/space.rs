//! Free space of the file system behind a root.

use crate::backend::{GuardRef, Space, VfsResult};

use super::root::OpenRoot;
use super::system::guarded;

impl OpenRoot {
    pub(super) fn space(&self, guard: &GuardRef) -> VfsResult<Space> {
        let stat = guarded(guard, || rustix::fs::fstatvfs(&self.folder))?;
        let block_size = if stat.f_frsize == 0 { stat.f_bsize } else { stat.f_frsize };
        Ok(Space {
            block_size,
            total_bytes: stat.f_blocks.saturating_mul(block_size),
            free_bytes: stat.f_bfree.saturating_mul(block_size),
            available_bytes: stat.f_bavail.saturating_mul(block_size),
            total_files: stat.f_files,
            free_files: stat.f_ffree,
            name_max: stat.f_namemax,
        })
    }
}
