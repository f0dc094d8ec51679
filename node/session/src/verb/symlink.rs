//! SYMLINK: the right is needed where the link is made and where it leads. A symlink counts as one file.

use flotilla_model::Permission;

use super::open_write::end_uncertain;
use crate::files::Failure;
use crate::path::VPath;
use crate::session::{Session, settle};

pub(super) async fn run(session: &Session, target: &[u8], link: &[u8]) -> Result<(), Failure> {
    let path = VPath::parse(link)?;
    let leads_to = VPath::parse_from(&path.parent(), target)?;
    let work = session.begin().await?;
    let rights = session.authorize(&work, &path.parent(), &[Permission::CreateSymlinks])?;
    session.authorize_led_to(&work, &leads_to.parent(), &[Permission::CreateSymlinks]).await.or_else(|failure| {
        match failure {
            // A folder that is not there has no contents to lead to.
            Failure::NotFound => Ok(()),
            other => Err(other),
        }
    })?;
    if session.find_upload(&work, &path).await?.is_some() {
        return Err(Failure::Exists);
    }
    session.before_change(&work).await?;
    let charge = session.charge_now(&work, 0, 1).await?;
    let durability = session.core.config.durability;
    match session.root.symlink(path.as_bytes(), target, durability, &rights.guard()).await {
        Ok(()) => {
            settle(Some(charge));
            session.log_command("Symlink", &path, Some(&leads_to));
            Ok(())
        }
        Err(error) => {
            end_uncertain(session, charge, &error)?;
            Err(session.failure(error))
        }
    }
}
