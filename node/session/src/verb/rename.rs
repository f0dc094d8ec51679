//! RENAME: fails if the target exists (draft-02 6.5).

use std::sync::Arc;

use flotilla_model::Permission;
use flotilla_vfs::{FileKind, VfsError};

use crate::files::Failure;
use crate::path::VPath;
use crate::rights::{self, Rights};
use crate::session::{Session, Work};

pub(super) async fn run(session: &Session, from: &[u8], to: &[u8]) -> Result<(), Failure> {
    let (from, to) = (VPath::parse(from)?, VPath::parse(to)?);
    let work = session.begin().await?;
    if from.is_root() || to.is_root() {
        return Err(Failure::Denied);
    }
    if let Some(upload) = session.find_upload(&work, &from).await? {
        let rights = authorize_rename(session, &work, &from, &to, Permission::RenameFiles)?;
        session.authorize_led_to(&work, &from.parent(), &[Permission::RenameFiles]).await?;
        let taken = session.find_upload(&work, &to).await?.is_some() || exists(session, &work, &to).await?;
        return if taken { Err(Failure::Exists) } else { upload.retarget(session, &rights, &to).await };
    }
    let right = right_for(session, &work, &from).await?;
    let rights = authorize_rename(session, &work, &from, &to, right)?;
    if session.find_upload(&work, &to).await?.is_some() {
        return Err(Failure::Exists);
    }
    session.before_change(&work).await?;
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

/// Files and symlinks need `rename_files`, folders `rename_dirs`. Without any right on the folder its contents stay unknown.
pub(super) async fn right_for(session: &Session, work: &Work, from: &VPath) -> Result<Permission, Failure> {
    let either = |right| session.authorize(work, &from.parent(), &[right]);
    either(Permission::RenameFiles).or_else(|refused| either(Permission::RenameDirs).map_err(|_| refused))?;
    let found = session.root.stat(from.as_bytes(), false, &work.guard).await.map_err(|error| session.failure(error))?;
    Ok(if found.kind == FileKind::Directory { Permission::RenameDirs } else { Permission::RenameFiles })
}

/// The right is needed on both sides. A folder is not moved away from the rules for what lies in it, nor onto others.
pub(super) fn authorize_rename(
    session: &Session,
    work: &Work,
    from: &VPath,
    to: &VPath,
    right: Permission,
) -> Result<Arc<Rights>, Failure> {
    if right == Permission::RenameDirs {
        let user = session.user()?;
        if rights::has_entry_below(&user, from) || rights::has_entry_below(&user, to) {
            return Err(Failure::NotAllowed(right.name()));
        }
    }
    session.authorize(work, &from.parent(), &[right])?;
    session.authorize(work, &to.parent(), &[right])
}
