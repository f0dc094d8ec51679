//! What a change of attributes needs: a right per attribute, in the folder of what is changed. Sizes have limits of their own.

use flotilla_model::Permission;
use flotilla_vfs::SetStat;

use crate::file::Transfer;
use crate::files::Failure;
use crate::rights;
use crate::session::Session;

/// The rights for mode, owner and times. A size needs the right to write, which an open handle has shown already.
pub(crate) fn needed(wanted: &SetStat) -> Vec<Permission> {
    let rights = [
        (wanted.mode.is_some(), Permission::Chmod),
        (wanted.owner.is_some(), Permission::Chown),
        (wanted.times.is_some(), Permission::Chtimes),
    ];
    rights.into_iter().filter(|(asked, _)| *asked).map(|(_, right)| right).collect()
}

impl Session {
    /// For an open file: in the folder that its path named, and in the one in which it was found.
    pub(crate) fn authorize_attributes(&self, transfer: &Transfer, wanted: &SetStat) -> Result<(), Failure> {
        let (user, needed) = (self.user()?, needed(wanted));
        rights::demand(&user, &transfer.path().parent(), &needed)?;
        transfer.folder().map_or(Ok(()), |folder| rights::demand(&user, folder, &needed))
    }

    /// `max_upload_file_size`, by the largest size that a file would get.
    pub(crate) fn check_size(&self, size: u64) -> Result<(), Failure> {
        let limit = self.user()?.filters.max_upload_file_size;
        if limit != 0 && size > limit { Err(Failure::FileTooLarge { limit }) } else { Ok(()) }
    }
}
