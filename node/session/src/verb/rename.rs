//! RENAME: fails if the target exists (draft-02 6.5).

use flotilla_model::Permission;
use flotilla_vfs::{FileKind, VfsError};

use crate::files::Failure;
use crate::path::VPath;
use crate::session::{Session, Work};

pub(super) async fn run(session: &Session, from: &[u8], to: &[u8]) -> Result<(), Failure> {
    let (from, to) = (VPath::parse(from)?, VPath::parse(to)?);
    let work = session.begin().await?;
    if from.is_root() || to.is_root() {
        return Err(Failure::Denied);
    }
    if let Some(upload) = session.find_upload(&work, &from).await? {
        authorize_rename(session, &work, &from, &to, Permission::RenameFiles).await?;
        let taken = session.find_upload(&work, &to).await?.is_some() || exists(session, &work, &to).await?;
        return if taken { Err(Failure::Exists) } else { upload.retarget(session, &work, &to).await };
    }
    let right = right_for(session, &work, &from).await?;
    authorize_rename(session, &work, &from, &to, right).await?;
    if session.find_upload(&work, &to).await?.is_some() {
        return Err(Failure::Exists);
    }
    session.before_change(&work).await?;
    let durability = session.core.config.durability;
    let renamed = session.root.rename(from.as_bytes(), to.as_bytes(), durability, &work.guard).await;
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
    session.authorize(work, &from.parent(), &[Permission::RenameFiles, Permission::RenameDirs]).await?;
    let found = session.root.stat(from.as_bytes(), false, &work.guard).await.map_err(|error| session.failure(error))?;
    Ok(if found.kind == FileKind::Directory { Permission::RenameDirs } else { Permission::RenameFiles })
}

/// The right is needed on both sides.
pub(super) async fn authorize_rename(
    session: &Session,
    work: &Work,
    from: &VPath,
    to: &VPath,
    right: Permission,
) -> Result<(), Failure> {
    session.authorize(work, &from.parent(), &[right]).await?;
    session.authorize(work, &to.parent(), &[right]).await
}
