//! REMOVE: the file is caught before it is credited (`PROTOCOL.md` 6.1). The answer does not wait for the credit.

use flotilla_model::Permission;
use flotilla_vfs::VfsError;

use crate::files::Failure;
use crate::path::VPath;
use crate::session::Session;

pub(super) async fn run(session: &Session, path: &[u8]) -> Result<(), Failure> {
    let path = VPath::parse(path)?;
    let work = session.begin().await?;
    let rights = session.authorize(&work, &path.parent(), &[Permission::DeleteFiles])?;
    if path.is_root() {
        return Err(VfsError::IsDirectory.into());
    }
    if let Some(upload) = session.find_upload(&work, &path).await? {
        session.authorize_led_to(&work, &path.parent(), &[Permission::DeleteFiles]).await?;
        upload.fail(session, "its own session removed it before CLOSE").await;
        return Ok(());
    }
    let account = session.before_change(&work).await?;
    let durability = session.core.config.durability;
    let measuring = account.measuring();
    let removed = session.root.remove(path.as_bytes(), session.epoch(), durability, &rights.guard()).await;
    if matches!(removed, Err(VfsError::IsDirectory)) {
        // It may have been caught and put back.
        drop(account.moving());
    }
    let caught = removed.map_err(|error| session.failure(error))?;
    session.credit(account, measuring, caught).await;
    session.log_command("Remove", &path, None);
    Ok(())
}
