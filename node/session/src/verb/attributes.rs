//! What a change of attributes needs: a right per attribute, checked on the parent folder. Sizes have limits of their own.

use flotilla_model::Permission;
use flotilla_vfs::SetStat;

use crate::files::Failure;
use crate::path::VPath;
use crate::session::{Session, Work};

impl Session {
    /// Mode, owner and times. A size needs the right to write, which an open handle has shown already.
    pub(crate) async fn authorize_attributes(
        &self,
        work: &Work,
        path: &VPath,
        wanted: &SetStat,
    ) -> Result<(), Failure> {
        let rights = [
            (wanted.mode.is_some(), Permission::Chmod),
            (wanted.owner.is_some(), Permission::Chown),
            (wanted.times.is_some(), Permission::Chtimes),
        ];
        for (asked, right) in rights {
            if asked {
                self.authorize(work, &path.parent(), &[right]).await?;
            }
        }
        Ok(())
    }

    /// `max_upload_file_size`, by the largest size that a file would get.
    pub(crate) fn check_size(&self, size: u64) -> Result<(), Failure> {
        let limit = self.user()?.filters.max_upload_file_size;
        if limit != 0 && size > limit { Err(Failure::FileTooLarge { limit }) } else { Ok(()) }
    }
}
