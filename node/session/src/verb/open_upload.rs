//! OPEN that begins an upload, or joins one that this session has begun (`PROTOCOL.md` 8.2).

use std::sync::Arc;

use flotilla_model::Permission;
use flotilla_vfs::SetStat;

use super::open_write::NEW_FILE_MODE;
use crate::file::{Transfer, Upload, UploadHandle};
use crate::files::{Failure, OpenFile, OpenFlags};
use crate::path::VPath;
use crate::rights::Rights;
use crate::session::{Session, Work};

/// Charges the file before anything is made, then stages it.
pub(super) async fn begin(
    session: &Session,
    work: &Work,
    rights: &Arc<Rights>,
    path: VPath,
    flags: OpenFlags,
    attributes: SetStat,
) -> Result<Arc<dyn OpenFile>, Failure> {
    let handle = session.take_handle()?;
    // A client may say at OPEN how large the file will be: then a lack of room is known now.
    let announced = attributes.size.unwrap_or(0);
    session.check_size(announced)?;
    let charge = session.account()?.charge();
    if let Err(failure) = session.raise_to(work, &charge, announced, 1).await {
        charge.give_back();
        return Err(failure);
    }
    let mode = attributes.mode.unwrap_or(NEW_FILE_MODE) & 0o777;
    match session.root.stage(path.as_bytes(), mode, session.epoch(), &rights.guard()).await {
        Ok(staged) => {
            let upload = Upload::new(staged, charge);
            session.add_upload(Arc::clone(&upload));
            Ok(UploadHandle::open(session.arc(), upload, Transfer::new(path, rights.reached()), flags, handle))
        }
        Err(error) => {
            charge.give_back();
            Err(session.failure(error))
        }
    }
}

/// A further handle on the session's own upload; one that truncates starts it anew.
pub(super) async fn join(
    session: &Session,
    work: &Work,
    path: VPath,
    flags: OpenFlags,
    upload: Arc<Upload>,
) -> Result<Arc<dyn OpenFile>, Failure> {
    let mut needed = vec![Permission::Upload];
    if flags.read {
        needed.push(Permission::Download);
    }
    let folder = session.authorize_own(work, &path, &upload, &needed).await?;
    let handle = session.take_handle()?;
    if flags.truncate {
        upload.set_stat(session, work, SetStat { size: Some(0), ..SetStat::default() }).await?;
    }
    Ok(UploadHandle::open(session.arc(), upload, Transfer::new(path, folder), flags, handle))
}
