//! `stat` and `lstat`.

use crate::backend::{FileStat, GuardRef, VfsError, VfsResult};

use super::resolve::{Access, HOPS, check_path};
use super::root::OpenRoot;
use super::system::{file_stat, stat_of};

impl OpenRoot {
    pub(super) fn stat(&self, path: &[u8], follow: bool, guard: &GuardRef) -> VfsResult<FileStat> {
        check_path(path)?;
        if path.is_empty() {
            return Ok(file_stat(&stat_of(guard, &self.folder)?));
        }
        if !follow {
            return Ok(file_stat(&self.spot(path, Access::Names, guard)?.stat(guard)?));
        }
        match self.follow(path, Access::Names, HOPS, guard) {
            Ok(found) => found.stat.map(|stat| file_stat(&stat)).ok_or(VfsError::NotFound),
            // A link to `..` or to the root: no last name, but a folder.
            Err(VfsError::IsDirectory) => {
                let folder = self.folder(path, Access::Names, guard)?;
                self.judge_itself(&folder, guard)?;
                Ok(file_stat(&stat_of(guard, &folder)?))
            }
            Err(error) => Err(error),
        }
    }
}
