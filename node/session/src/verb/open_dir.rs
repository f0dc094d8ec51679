//! OPENDIR. The right `list` is checked on the folder itself.

use flotilla_model::Permission;

use crate::file::OpenDirectory;
use crate::files::{Failure, OpenDir};
use crate::path::VPath;
use crate::session::Session;

pub(super) async fn run(session: &Session, path: &[u8]) -> Result<Box<dyn OpenDir>, Failure> {
    let path = VPath::parse(path)?;
    let work = session.begin().await?;
    let rights = session.authorize(&work, &path, &[Permission::List])?;
    let handle = session.take_handle()?;
    let dir = session.root.open_dir(path.as_bytes(), &rights.guard()).await.map_err(|error| session.failure(error))?;
    Ok(Box::new(OpenDirectory { session: session.arc(), dir, _handle: handle }))
}
