//! When an exchange caught a directory: it goes back, and whatever else is in the way is not lost (`PROTOCOL.md` 8.3).

use rustix::fs::{Mode, RenameFlags};
use rustix::io::Errno;

use crate::backend::{FileKind, GuardRef, VfsError, VfsResult};

use super::Shared;
use super::ours::{KEPT, enter_or_make};
use super::place::{Place, place_new};
use super::system::{Identity, attempt, fact, guarded, identity, kind, look_at};

/// Each round needs another session to change the name between two system calls.
const ROUNDS: usize = 8;

/// Where the uploaded file is after its exchange was undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// In staging again: nothing was published.
    Back,
    /// Published, and since replaced or removed by another session, which credits it.
    Gone,
}

/// `held` (a name in staging) is a directory that was at `name`; the file `own` took its place.
pub(super) fn undo(
    shared: &Shared,
    held: Place<'_>,
    name: Place<'_>,
    own: Identity,
    guard: &GuardRef,
) -> VfsResult<Own> {
    for round in 0..ROUNDS {
        let exchanged =
            attempt(guard, || rustix::fs::renameat_with(held.0, held.1, name.0, name.1, RenameFlags::EXCHANGE))?;
        match exchanged {
            Ok(()) => {}
            Err(Errno::NOENT) if is_put(shared, held, name, guard)? => return Ok(Own::Gone),
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(fact(errno)),
        }
        let Some(stat) = look_at(guard, held.0, held.1)? else { return Err(VfsError::Fenced) };
        if identity(&stat) == own {
            return Ok(Own::Back);
        }
        // Not the own file: another session's, acknowledged. One more exchange gives it its name back and yields the directory.
        if kind(&stat) == FileKind::Directory && round > 0 {
            break;
        }
    }
    keep_aside(shared, held, "a directory was caught by an upload and its name is taken", guard)?;
    Ok(Own::Gone)
}

/// The name is free: what is held gets it. `false` when somebody was quicker.
fn is_put(shared: &Shared, held: Place<'_>, name: Place<'_>, guard: &GuardRef) -> VfsResult<bool> {
    match place_new(guard, &shared.capability, held, name) {
        Ok(()) => Ok(true),
        Err(VfsError::Exists) => Ok(false),
        Err(VfsError::NotFound) => Err(VfsError::Fenced),
        Err(error) => Err(error),
    }
}

/// Moves what is nobody's upload from a staging folder to `.flotilla/kept/`, for an operator.
pub(super) fn keep_aside(shared: &Shared, held: Place<'_>, why: &str, guard: &GuardRef) -> VfsResult<()> {
    let ours = shared.ours(guard)?;
    let (kept, _) = enter_or_make(guard, &ours, KEPT)?;
    let name = format!("{:016x}", rand::random::<u64>());
    // A folder of its own keeps the mode of what is inside as it was, and shows when it came.
    guarded(guard, || rustix::fs::mkdirat(&kept, &name, Mode::RWXU))?;
    let to = [name.as_bytes(), b"/", held.1].concat();
    guarded(guard, || rustix::fs::renameat(held.0, held.1, &kept, &to[..]))?;
    tracing::error!(
        storage = shared.name,
        kept = format!(".flotilla/{KEPT}/{}", String::from_utf8_lossy(&to)),
        why,
        "a user's files were kept aside: move them back by hand"
    );
    Ok(())
}
