//! RENAME: fails if the target exists (draft-02 6.5).

use std::sync::Arc;

use flotilla_model::Permission;
use flotilla_vfs::VfsError;

use crate::files::Failure;
use crate::path::VPath;
use crate::rights::Rights;
use crate::session::{Session, Work};

pub(super) async fn run(session: &Session, from: &[u8], to: &[u8]) -> Result<(), Failure> {
    let (from, to) = (VPath::parse(from)?, VPath::parse(to)?);
    let work = session.begin().await?;
    if from.is_root() || to.is_root() {
        return Err(Failure::Denied);
    }
    if let Some(upload) = session.find_upload(&work, &from).await? {
        let rights = authorize_upload(session, &work, &from, &to)?;
        session.authorize_led_to(&work, &from.parent(), &[Permission::RenameFiles]).await?;
        let taken = session.find_upload(&work, &to).await?.is_some() || exists(session, &work, &to).await?;
        return if taken { Err(Failure::Exists) } else { upload.retarget(session, &rights, &to).await };
    }
    let rights = Rights::to_move(&work.guard, session.user()?, from.clone(), to.clone())?;
    if session.find_upload(&work, &to).await?.is_some() {
        return Err(Failure::Exists);
    }
    let account = session.before_change(&work).await?;
    let _moving = account.moving();
    let durability = session.core.config.durability;
    let renamed = session.root.rename(from.as_bytes(), to.as_bytes(), durability, &rights.guard()).await;
    renamed.map_err(|error| session.failure(error))?;
    session.log_command("Rename", &from, Some(&to));
    Ok(())
}

async fn exists(session: &Session, work: &Work, path: &VPath) -> Result<bool, Failure> {
    match session.root.stat(path.as_bytes(), false, &work.guard).await {
        Ok(_) => Ok(true),
        Err(VfsError::NotFound) => Ok(false),
        Err(error) => Err(session.failure(error)),
    }
}

/// The session's own upload is a file, whatever stands at its name. The right is needed on both sides.
pub(super) fn authorize_upload(
    session: &Session,
    work: &Work,
    from: &VPath,
    to: &VPath,
) -> Result<Arc<Rights>, Failure> {
    session.authorize(work, &from.parent(), &[Permission::RenameFiles])?;
    session.authorize(work, &to.parent(), &[Permission::RenameFiles])
}
