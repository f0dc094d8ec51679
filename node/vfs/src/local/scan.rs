//! Counts what a root stores, its staging folders included (`PROTOCOL.md` 7.2).

use crate::backend::{GuardRef, Usage, VfsResult};

use super::Shared;
use super::open_root::find_root;
use super::ours::enter;
use super::system::{guarded, identity, stat_of};
use super::walk::{Counter, walk};

/// `syncfs` first: an unsynced removal would come back after a power cut, uncounted.
pub(super) fn scan(shared: &Shared, path: &str, account: u64, guard: &GuardRef) -> VfsResult<Usage> {
    let ours = shared.ours(guard)?;
    guarded(guard, || rustix::fs::syncfs(&shared.folder))?;
    let mut counter = Counter::default();
    if let Some(staging) = enter(guard, &ours, &account.to_string())? {
        walk(staging, None, &mut counter, guard)?;
    }
    let hidden = match path {
        "" => Some(identity(&stat_of(guard, &ours)?)),
        _ => None,
    };
    if let Some(root) = find_root(shared, path, guard)? {
        walk(root, hidden, &mut counter, guard)?;
    }
    tracing::debug!(storage = shared.name, account, path, usage = ?counter.usage, "scanned");
    Ok(counter.usage)
}
