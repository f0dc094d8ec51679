//! READLINK: the text of a symlink as it is stored.

use flotilla_model::Permission;

use crate::files::Failure;
use crate::path::VPath;
use crate::session::Session;

pub(super) async fn run(session: &Session, path: &[u8]) -> Result<Vec<u8>, Failure> {
    let path = VPath::parse(path)?;
    let work = session.begin().await?;
    let rights = session.authorize(&work, &path.parent(), &[Permission::List])?;
    session.root.read_link(path.as_bytes(), &rights.guard()).await.map_err(|error| session.failure(error))
}
