//! STAT and LSTAT: also of the session's own unpublished uploads.

use flotilla_model::Permission;
use flotilla_vfs::FileStat;

use crate::files::Failure;
use crate::path::VPath;
use crate::session::Session;

pub(super) async fn run(session: &Session, path: &[u8], follow: bool) -> Result<FileStat, Failure> {
    let path = VPath::parse(path)?;
    let work = session.begin().await?;
    let rights = session.authorize(&work, &path.parent(), &[Permission::List])?;
    if let Some(upload) = session.find_upload(&work, &path).await? {
        session.authorize_own(&work, &path, &upload, &[Permission::List]).await?;
        return upload.stat(session, &work).await;
    }
    session.root.stat(path.as_bytes(), follow, &rights.guard()).await.map_err(|error| session.failure(error))
}
