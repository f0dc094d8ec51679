//! OPEN for reading: the file in place, or the session's own unpublished upload.

use std::sync::Arc;

use flotilla_model::Permission;
use flotilla_vfs::OpenHow;

use crate::file::{InPlace, Transfer, UploadHandle};
use crate::files::{Failure, OpenFile, OpenFlags};
use crate::path::VPath;
use crate::session::{Session, Work};

pub(super) async fn run(session: &Session, work: &Work, path: VPath) -> Result<Arc<dyn OpenFile>, Failure> {
    let rights = session.authorize(work, &path.parent(), &[Permission::Download])?;
    let handle = session.take_handle()?;
    if let Some(upload) = session.find_upload(work, &path).await? {
        session.authorize_led_to(work, &path.parent(), &[Permission::Download]).await?;
        let flags = OpenFlags { read: true, ..OpenFlags::default() };
        return Ok(UploadHandle::open(session.arc(), upload, Transfer::new(path, None), flags, handle));
    }
    let how = OpenHow { read: true, ..OpenHow::default() };
    let opened = session.root.open(path.as_bytes(), how, &rights.guard()).await;
    let file = opened.map_err(|error| session.failure(error))?;
    let file = session.note_inode(work, file).await?;
    Ok(InPlace::open(session.arc(), file, Transfer::new(path, rights.reached()), true, None, handle))
}
