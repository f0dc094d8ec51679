//! What a job does: one call on the session's files or on an open one, and the reply made of its result.

mod on_handle;
mod on_path;
mod read_dir;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use flotilla_session::{Failure, OpenFile};
pub(super) use on_handle::{HandleWork, read_cached};
pub(super) use on_path::PathWork;
pub(super) use read_dir::{Listing, REPLY_BYTES as LISTING_REPLY_BYTES};
use tokio::sync::Mutex;

/// What a handle stands for.
#[derive(Clone)]
pub(super) enum Target {
    File {
        file: Arc<dyn OpenFile>,
        append: bool,
    },
    /// Requests on one handle of a directory run alone, so nobody waits for this lock.
    Directory(Arc<Mutex<Listing>>),
}

/// How a job ended.
pub(super) enum Outcome {
    Reply(Bytes),
    /// OPEN or OPENDIR succeeded: the handle is made, then told.
    Opened {
        target: Target,
        path: Vec<u8>,
    },
    /// The handle is gone, whatever the result.
    Closed(Result<(), Failure>),
    Failed(Failure),
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Outcome::Failed(failure)
    }
}

impl Outcome {
    fn of<T>(result: Result<T, Failure>, reply: impl FnOnce(T) -> Bytes) -> Self {
        match result {
            Ok(value) => Outcome::Reply(reply(value)),
            Err(failure) => Outcome::Failed(failure),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Target::File { .. } => "file",
            Target::Directory(_) => "directory",
        })
    }
}
