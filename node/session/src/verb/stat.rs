//! STAT and LSTAT: also of the session's own unpublished uploads.

use flotilla_model::Permission;
use flotilla_vfs::FileStat;

use crate::files::Failure;
use crate::path::VPath;
use crate::session::Session;

pub(super) async fn run(session: &Session, path: &[u8], follow: bool) -> Result<FileStat, Failure> {
    let path = VPath::parse(path)?;
    let work = session.begin().await?;
    session.authorize(&work, &path.parent(), &[Permission::List]).await?;
    if let Some(upload) = session.find_upload(&work, &path).await? {
        return upload.stat(session, &work).await;
    }
    if follow {
        session.authorize_followed(&work, &path, &[Permission::List]).await?;
    }
    session.root.stat(path.as_bytes(), follow, &work.guard).await.map_err(|error| session.failure(error))
}
