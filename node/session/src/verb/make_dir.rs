//! MKDIR. Folders are not counted.

use flotilla_model::Permission;
use flotilla_vfs::SetStat;

use crate::files::Failure;
use crate::path::VPath;
use crate::session::Session;

/// Permission bits of a new folder when the client names none; the backend's umask applies.
const NEW_FOLDER_MODE: u32 = 0o777;

pub(super) async fn run(session: &Session, path: &[u8], attributes: SetStat) -> Result<(), Failure> {
    let path = VPath::parse(path)?;
    let work = session.begin().await?;
    let rights = session.authorize(&work, &path.parent(), &[Permission::CreateDirs])?;
    if path.is_root() {
        return Err(Failure::Exists);
    }
    session.before_change(&work).await?;
    let mode = attributes.mode.unwrap_or(NEW_FOLDER_MODE) & 0o777;
    let durability = session.core.config.durability;
    let made = session.root.make_dir(path.as_bytes(), mode, durability, &rights.guard()).await;
    made.map_err(|error| session.failure(error))?;
    session.log_command("Mkdir", &path, None);
    Ok(())
}
