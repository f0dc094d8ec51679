//! SETSTAT by path. A size is changed through an open file, so that growth is charged like a write.

use flotilla_model::Permission;
use flotilla_vfs::{OpenHow, SetStat};

use super::attributes;
use crate::file::resize;
use crate::files::Failure;
use crate::path::VPath;
use crate::session::{Session, Work};

pub(super) async fn run(session: &Session, path: &[u8], wanted: SetStat) -> Result<(), Failure> {
    let path = VPath::parse(path)?;
    let work = session.begin().await?;
    let rights = session.authorize(&work, &path.parent(), &attributes::needed(&wanted))?;
    if let Some(upload) = session.find_upload(&work, &path).await? {
        session.authorize_led_to(&work, &path.parent(), &attributes::needed(&wanted)).await?;
        return upload.set_stat(session, &work, wanted).await;
    }
    if let Some(size) = wanted.size {
        change_size(session, &work, &path, size).await?;
    }
    let others = SetStat { size: None, ..wanted };
    if others == SetStat::default() {
        return Ok(());
    }
    session.before_change(&work).await?;
    let done = session.root.set_stat(path.as_bytes(), others, &rights.guard()).await;
    done.map_err(|error| session.failure(error))
}

async fn change_size(session: &Session, work: &Work, path: &VPath, size: u64) -> Result<(), Failure> {
    let rights = session.authorize(work, &path.parent(), &[Permission::Overwrite])?;
    session.check_size(size)?;
    let account = session.before_change(work).await?;
    let how = OpenHow { write: true, ..OpenHow::default() };
    let file =
        session.root.open(path.as_bytes(), how, &rights.guard()).await.map_err(|error| session.failure(error))?;
    let (file, here) = session.note_inode(work, file).await?;
    resize(session, work, &file, here.inode(), size, &account).await
}
