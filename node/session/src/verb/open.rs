//! OPEN: decides what kind of open the flags ask for (`PROTOCOL.md` 8.2).
//!
//! | flags | the file is there | it is missing |
//! |---|---|---|
//! | read | in place | not found |
//! | write | in place | not found |
//! | write, create | in place | upload |
//! | write, truncate | upload | not found |
//! | write, create, truncate | upload | upload |
//! | write, create, exclusive | exists | made at its name, in place |

use std::sync::Arc;

use super::{open_read, open_write};
use crate::files::{Failure, OpenFile, OpenFlags, SetStat};
use crate::path::VPath;
use crate::session::Session;

pub(super) async fn run(
    session: &Session,
    path: &[u8],
    flags: OpenFlags,
    attributes: SetStat,
) -> Result<Arc<dyn OpenFile>, Failure> {
    let path = VPath::parse(path)?;
    let work = session.begin().await?;
    if flags.write || flags.append {
        return open_write::run(session, &work, path, OpenFlags { write: true, ..flags }, attributes).await;
    }
    if flags.create || flags.truncate || flags.exclusive {
        return Err(Failure::Invalid("create, truncate and exclusive need write".into()));
    }
    open_read::run(session, &work, path).await
}
