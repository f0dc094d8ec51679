//! Counts what a root stores, its staging folders included (`PROTOCOL.md` 7.2, 7.3).

use crate::backend::{GuardRef, Usage, UsageInUse, VfsResult};

use super::Shared;
use super::open_root::find_root;
use super::ours::enter;
use super::system::{guarded, identity, stat_of};
use super::walk::{Counter, walk};

/// Inodes that a scan of an account in use tells from those that it meets again. Of more than that some are counted twice.
const REMEMBERED: usize = 1 << 18;

/// `syncfs` first: an unsynced removal would come back after a power cut, uncounted.
pub(super) fn scan(shared: &Shared, path: &str, account: u64, guard: &GuardRef) -> VfsResult<Usage> {
    guarded(guard, || rustix::fs::syncfs(&shared.folder))?;
    let mut counter = Counter::default();
    walk_staging(shared, account, &mut counter, guard)?;
    walk_tree(shared, path, &mut counter, guard)?;
    tracing::debug!(storage = shared.name, account, path, usage = ?counter.usage, "scanned");
    Ok(counter.usage)
}

/// Staging again at the end: what was caught before the walk came to its folder lies there.
pub(super) fn scan_in_use(shared: &Shared, path: &str, account: u64, guard: &GuardRef) -> VfsResult<UsageInUse> {
    guarded(guard, || rustix::fs::syncfs(&shared.folder))?;
    let mut counter = Counter::remembering(REMEMBERED);
    counter.count_apart(true);
    walk_staging(shared, account, &mut counter, guard)?;
    counter.count_apart(false);
    walk_tree(shared, path, &mut counter, guard)?;
    counter.count_apart(true);
    walk_staging(shared, account, &mut counter, guard)?;
    let usage = UsageInUse { all: counter.usage, staged: counter.apart };
    tracing::debug!(storage = shared.name, account, path, ?usage, "scanned in use");
    Ok(usage)
}

fn walk_staging(shared: &Shared, account: u64, counter: &mut Counter, guard: &GuardRef) -> VfsResult<()> {
    let ours = shared.ours(guard)?;
    match enter(guard, &ours, &account.to_string())? {
        Some(staging) => walk(staging, None, counter, guard),
        None => Ok(()),
    }
}

fn walk_tree(shared: &Shared, path: &str, counter: &mut Counter, guard: &GuardRef) -> VfsResult<()> {
    let hidden = match path {
        "" => Some(identity(&stat_of(guard, &shared.ours(guard)?)?)),
        _ => None,
    };
    match find_root(shared, path, guard)? {
        Some(root) => walk(root, hidden, counter, guard),
        None => Ok(()),
    }
}
