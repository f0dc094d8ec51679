//! OPEN for reading: the file in place, or the session's own unpublished upload.

use std::sync::Arc;

use flotilla_model::Permission;
use flotilla_vfs::OpenHow;

use crate::file::{InPlace, UploadHandle};
use crate::files::{Failure, OpenFile, OpenFlags};
use crate::path::VPath;
use crate::session::{Session, Work};

pub(super) async fn run(session: &Session, work: &Work, path: VPath) -> Result<Arc<dyn OpenFile>, Failure> {
    session.authorize(work, &path.parent(), &[Permission::Download]).await?;
    let handle = session.take_handle()?;
    if let Some(upload) = session.find_upload(work, &path).await? {
        let flags = OpenFlags { read: true, ..OpenFlags::default() };
        return Ok(UploadHandle::open(session.arc(), upload, path, flags, handle));
    }
    session.authorize_followed(work, &path, &[Permission::Download]).await?;
    let how = OpenHow { read: true, ..OpenHow::default() };
    let file = session.root.open(path.as_bytes(), how, &work.guard).await.map_err(|error| session.failure(error))?;
    Ok(InPlace::open(session.arc(), file, path, true, None, handle))
}
