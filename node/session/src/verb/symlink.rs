//! SYMLINK: the right is needed where the link is made and where it leads. A symlink counts as one file.

use flotilla_model::Permission;
use flotilla_vfs::VfsError;

use crate::files::Failure;
use crate::path::VPath;
use crate::session::Session;

pub(super) async fn run(session: &Session, target: &[u8], link: &[u8]) -> Result<(), Failure> {
    let path = VPath::parse(link)?;
    let leads_to = VPath::parse_from(&path.parent(), target)?;
    let work = session.begin().await?;
    session.authorize(&work, &path.parent(), &[Permission::CreateSymlinks]).await?;
    session.authorize(&work, &leads_to.parent(), &[Permission::CreateSymlinks]).await.or_else(
        |failure| match failure {
            // A folder that is not there has no contents to lead to.
            Failure::NotFound => Ok(()),
            other => Err(other),
        },
    )?;
    if session.find_upload(&work, &path).await?.is_some() {
        return Err(Failure::Exists);
    }
    let account = session.before_change(&work).await?;
    let charge = account.charge();
    if let Err(refused) = charge.raise(0, 1, &work.guard).await {
        charge.give_back();
        return Err(session.quota_failure(refused));
    }
    let durability = session.core.config.durability;
    match session.root.symlink(path.as_bytes(), target, durability, &work.guard).await {
        Ok(()) => {
            charge.publish();
            charge.give_back();
            session.log_command("Symlink", &path, Some(&leads_to));
            Ok(())
        }
        Err(error) => {
            if matches!(error, VfsError::Io(_)) {
                // Whether the name was made is not known: it stays counted.
                charge.publish();
                account.mark();
            }
            charge.give_back();
            Err(session.failure(error))
        }
    }
}
