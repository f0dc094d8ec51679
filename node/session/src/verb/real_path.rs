//! REALPATH: absolute and canonical. Symlinks are followed where the user may see them; else the text alone decides.

use flotilla_model::Permission;

use crate::files::Failure;
use crate::path::VPath;
use crate::session::Session;

pub(super) async fn run(session: &Session, path: &[u8]) -> Result<Vec<u8>, Failure> {
    let path = VPath::parse(path)?;
    let work = session.begin().await?;
    if path.is_root() || session.authorize_led_to(&work, &path.parent(), &[Permission::List]).await.is_err() {
        session.check()?;
        return Ok(path.absolute());
    }
    match session.root.real_path(path.as_bytes(), &work.guard).await {
        Ok(real) => Ok(VPath::from_storage(real).absolute()),
        Err(flotilla_vfs::VfsError::Stopped(stopped)) => Err(session.failure(stopped.into())),
        Err(_) => Ok(path.absolute()),
    }
}
