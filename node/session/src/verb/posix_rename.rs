//! posix-rename: replaces a file at the target; what it replaced is caught and credited (`PROTOCOL.md` 8.3).

use flotilla_model::Permission;
use flotilla_vfs::{FileKind, VfsError};

use super::rename::authorize_upload;
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
        authorize_replace(session, &work, &to).await?;
        replace_own(session, &work, &to).await?;
        return upload.retarget(session, &rights, &to).await;
    }
    let rights = Rights::to_move(&work.guard, session.user()?, from.clone(), to.clone())?;
    authorize_replace(session, &work, &to).await?;
    let account = session.before_change(&work).await?;
    replace_own(session, &work, &to).await?;
    let durability = session.core.config.durability;
    let guard = rights.guard();
    let _moving = account.moving();
    let measuring = account.measuring();
    let renamed = session.root.rename_over(from.as_bytes(), to.as_bytes(), session.epoch(), durability, &guard).await;
    if let Some(caught) = renamed.map_err(|error| session.failure(error))? {
        session.credit(account, measuring, caught).await;
    }
    session.log_command("Rename", &from, Some(&to));
    Ok(())
}

/// The session's own unpublished upload of the target's name is what is replaced.
async fn replace_own(session: &Session, work: &Work, to: &VPath) -> Result<(), Failure> {
    if let Some(replaced) = session.find_upload(work, to).await? {
        replaced.fail(session, "its own session renamed another file over it before CLOSE").await;
    }
    Ok(())
}

/// Onto a file: `overwrite`; onto a symlink: `upload`, since what was there is no file's content. Judged by the client's path here,
/// and by the folder itself when it is replaced.
async fn authorize_replace(session: &Session, work: &Work, to: &VPath) -> Result<(), Failure> {
    let right = match session.root.stat(to.as_bytes(), false, &work.guard).await {
        Ok(found) if found.kind == FileKind::Symlink => Permission::Upload,
        Ok(_) => Permission::Overwrite,
        Err(VfsError::NotFound) => return Ok(()),
        Err(error) => return Err(session.failure(error)),
    };
    session.authorize(work, &to.parent(), &[right]).map(drop)
}
