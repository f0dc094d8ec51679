//! RMDIR of an empty folder.

use flotilla_model::Permission;

use crate::files::Failure;
use crate::path::VPath;
use crate::session::Session;

pub(super) async fn run(session: &Session, path: &[u8]) -> Result<(), Failure> {
    let path = VPath::parse(path)?;
    let work = session.begin().await?;
    let rights = session.authorize(&work, &path.parent(), &[Permission::DeleteDirs])?;
    if path.is_root() {
        return Err(Failure::Denied);
    }
    session.before_change(&work).await?;
    let durability = session.core.config.durability;
    let removed = session.root.remove_dir(path.as_bytes(), durability, &rights.guard()).await;
    removed.map_err(|error| session.failure(error))?;
    session.log_command("Rmdir", &path, None);
    Ok(())
}
