//! OPEN for writing: chooses between the session's own upload, a new upload, EXCL and in place.

use std::sync::Arc;

use flotilla_model::Permission;
use flotilla_vfs::{FileKind, OpenHow, VfsError};

use super::open_upload;
use crate::file::{InPlace, Transfer};
use crate::files::{Failure, OpenFile, OpenFlags, SetStat};
use crate::ledger::Charge;
use crate::path::VPath;
use crate::rights::Rights;
use crate::session::{Session, Work, settle};

/// Permission bits of a new file when the client names none; the backend's umask applies.
pub(super) const NEW_FILE_MODE: u32 = 0o666;

pub(super) async fn run(
    session: &Session,
    work: &Work,
    path: VPath,
    flags: OpenFlags,
    attributes: SetStat,
) -> Result<Arc<dyn OpenFile>, Failure> {
    if path.is_root() {
        return Err(VfsError::IsDirectory.into());
    }
    session.before_change(work).await?;
    let own = session.find_upload(work, &path).await?;
    if flags.create && flags.exclusive {
        return match own {
            Some(_) => Err(Failure::Exists),
            None => exclusive(session, work, path, flags, attributes).await,
        };
    }
    if let Some(upload) = own {
        return open_upload::join(session, work, path, flags, upload).await;
    }
    match existing(session, work, &path).await? {
        None if !flags.create => Err(Failure::NotFound),
        None => {
            let rights = session.authorize(work, &path.parent(), &[Permission::Upload])?;
            open_upload::begin(session, work, &rights, path, flags, attributes).await
        }
        Some(kind) => {
            let rights = authorize_existing(session, work, &path, flags, kind)?;
            if flags.truncate || kind == Existing::DanglingLink {
                open_upload::begin(session, work, &rights, path, flags, attributes).await
            } else {
                in_place(session, work, &rights, path, flags).await
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    File,
    Link,
    /// A symlink to a name that is missing: an upload makes it.
    DanglingLink,
}

async fn existing(session: &Session, work: &Work, path: &VPath) -> Result<Option<Existing>, Failure> {
    let stat = |follow| session.root.stat(path.as_bytes(), follow, &work.guard);
    let found = match stat(false).await {
        Ok(found) => found,
        Err(VfsError::NotFound) => return Ok(None),
        Err(error) => return Err(session.failure(error)),
    };
    match found.kind {
        FileKind::File => Ok(Some(Existing::File)),
        FileKind::Directory => Err(VfsError::IsDirectory.into()),
        FileKind::Other => Err(VfsError::SpecialFile.into()),
        FileKind::Symlink => match stat(true).await {
            Ok(target) if target.kind == FileKind::Directory => Err(VfsError::IsDirectory.into()),
            Ok(_) => Ok(Some(Existing::Link)),
            Err(VfsError::NotFound) => Ok(Some(Existing::DanglingLink)),
            Err(error) => Err(session.failure(error)),
        },
    }
}

/// Writing to a file that is there needs `overwrite`; to one behind a symlink `upload` too, there and where it leads.
fn authorize_existing(
    session: &Session,
    work: &Work,
    path: &VPath,
    flags: OpenFlags,
    existing: Existing,
) -> Result<Arc<Rights>, Failure> {
    let mut wanted = vec![];
    if existing != Existing::DanglingLink {
        wanted.push(Permission::Overwrite);
    }
    if existing != Existing::File {
        wanted.push(Permission::Upload);
    }
    if flags.read {
        wanted.push(Permission::Download);
    }
    let rights = session.authorize(work, &path.parent(), &wanted)?;
    if existing == Existing::DanglingLink && !flags.create { Err(Failure::NotFound) } else { Ok(rights) }
}

/// Makes the file at its name, charged before it is there (8.4).
async fn exclusive(
    session: &Session,
    work: &Work,
    path: VPath,
    flags: OpenFlags,
    attributes: SetStat,
) -> Result<Arc<dyn OpenFile>, Failure> {
    let rights = session.authorize(work, &path.parent(), &[Permission::Upload])?;
    let handle = session.take_handle()?;
    let charge = session.charge_now(work, 0, 1).await?;
    let how = OpenHow {
        read: flags.read,
        write: true,
        append: flags.append,
        exclusive: true,
        mode: attributes.mode.unwrap_or(NEW_FILE_MODE) & 0o777,
    };
    let opened = session.root.open(path.as_bytes(), how, &rights.guard()).await;
    let file = match opened {
        Ok(file) => file,
        Err(VfsError::Exists) => {
            charge.give_back();
            return Err(Failure::Exists);
        }
        Err(error) => {
            end_uncertain(session, charge, &error)?;
            return Err(session.failure(error));
        }
    };
    settle(Some(charge));
    let file = session.note_inode(work, file).await?;
    let transfer = Transfer::new(path, rights.reached());
    Ok(InPlace::open(session.arc(), file, transfer, flags.read, Some(flags.append), handle))
}

/// Whether an error left the name made is not always known: then it stays counted.
pub(super) fn end_uncertain(session: &Session, charge: Charge, error: &VfsError) -> Result<(), Failure> {
    if matches!(error, VfsError::Io(_) | VfsError::Made(_)) {
        session.account()?.mark();
        settle(Some(charge));
    } else {
        charge.give_back();
    }
    Ok(())
}

async fn in_place(
    session: &Session,
    work: &Work,
    rights: &Arc<Rights>,
    path: VPath,
    flags: OpenFlags,
) -> Result<Arc<dyn OpenFile>, Failure> {
    let handle = session.take_handle()?;
    let how = OpenHow { read: flags.read, write: true, append: flags.append, ..OpenHow::default() };
    let opened = session.root.open(path.as_bytes(), how, &rights.guard()).await;
    let file = opened.map_err(|error| session.failure(error))?;
    let file = session.note_inode(work, file).await?;
    let transfer = Transfer::new(path, rights.reached());
    Ok(InPlace::open(session.arc(), file, transfer, flags.read, Some(flags.append), handle))
}
