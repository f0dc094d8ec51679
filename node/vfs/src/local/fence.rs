//! Ends an epoch's staging folder for good, so that a late publish of a frozen node fails (`PROTOCOL.md` 8.5).

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use crate::backend::{FileKind, GuardRef, IsOver, VfsError, VfsResult};

use super::Shared;
use super::exchange::keep_aside;
use super::ours::enter;
use super::system::{attempt, fact, guarded, kind, look_at};

/// Rounds of emptying and removing. A thread of the dead epoch that was frozen inside a call can add one file; NFS keeps a name for
/// each file that a process here still has open, until that call returns.
const ROUNDS: u32 = 100;
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Idempotent; may run on several nodes at once.
pub(super) fn fence(shared: &Shared, account: u64, epoch: u64, guard: &GuardRef) -> VfsResult<()> {
    shared.staging.end(account, epoch);
    let ours = shared.ours(guard)?;
    let Some(of_account) = enter(guard, &ours, &account.to_string())? else { return Ok(()) };
    let name = epoch.to_string();
    for round in 0..ROUNDS {
        if let Some(folder) = enter(guard, &of_account, &name)? {
            empty(shared, folder, guard)?;
        }
        match attempt(guard, || rustix::fs::unlinkat(&of_account, &name, AtFlags::REMOVEDIR))? {
            // Synced also when somebody else removed it: only then is it the end of it.
            Ok(()) | Err(Errno::NOENT) => return guarded(guard, || rustix::fs::fsync(&of_account)),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => {}
            Err(errno) => return Err(fact(errno)),
        }
        // On the blocking pool, a bounded number of times; there is no event to wait for.
        std::thread::sleep(Duration::from_millis(u64::from(round)).min(PAUSE_MAX));
    }
    Err(VfsError::Io(std::io::Error::other(format!(
        "the staging folder {account}/{epoch} fills as often as it is emptied"
    ))))
}

/// One round for each folder: nobody adds anything there.
pub(super) fn sweep(shared: &Shared, account: u64, is_over: &IsOver, guard: &GuardRef) -> VfsResult<bool> {
    let ours = shared.ours(guard)?;
    let Some(of_account) = enter(guard, &ours, &account.to_string())? else { return Ok(false) };
    let (mut over, mut found) = (Vec::new(), false);
    each_name(&of_account, guard, |name| {
        // Names of ours are numbers as we write them.
        let epoch = std::str::from_utf8(name).ok().and_then(|name| name.parse::<u64>().ok());
        over.extend(epoch.filter(|epoch| epoch.to_string().as_bytes() == name && is_over(*epoch)));
        Ok(())
    })?;
    for epoch in over {
        shared.staging.end(account, epoch);
        let name = epoch.to_string();
        if let Some(folder) = enter(guard, &of_account, &name)? {
            each_name(&folder, guard, |name| {
                found = true;
                clear(shared, &folder, name, guard)
            })?;
        }
        match attempt(guard, || rustix::fs::unlinkat(&of_account, &name, AtFlags::REMOVEDIR))? {
            Ok(()) => tracing::debug!(account, epoch, "the staging folder of an ended epoch was swept"),
            // Another node was quicker, or has not come so far.
            Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => {}
            Err(errno) => return Err(fact(errno)),
        }
    }
    Ok(found)
}

/// Unlinks the files. Never goes into a directory: it is a user's, caught by an exchange, and kept aside.
fn empty(shared: &Shared, folder: OwnedFd, guard: &GuardRef) -> VfsResult<()> {
    each_name(&folder, guard, |name| clear(shared, &folder, name, guard))
}

fn each_name(folder: &OwnedFd, guard: &GuardRef, mut each: impl FnMut(&[u8]) -> VfsResult<()>) -> VfsResult<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let listed = guarded(guard, || rustix::fs::openat(folder, c".", flags, Mode::empty()))?;
    let mut names = Dir::new(listed).map_err(fact)?;
    loop {
        guard.check()?;
        let Some(entry) = names.read() else { return Ok(()) };
        let entry = entry.map_err(fact)?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            each(name)?;
        }
    }
}

fn clear(shared: &Shared, folder: &OwnedFd, name: &[u8], guard: &GuardRef) -> VfsResult<()> {
    let Some(stat) = look_at(guard, folder, name)? else { return Ok(()) };
    if kind(&stat) == FileKind::Directory {
        return match keep_aside(shared, (folder, name), "a directory was in a fenced staging folder", guard) {
            Err(VfsError::NotFound) => Ok(()),
            other => other,
        };
    }
    match attempt(guard, || rustix::fs::unlinkat(folder, name, AtFlags::empty()))? {
        // A directory exchanged in since: the next round sees it.
        Ok(()) | Err(Errno::NOENT | Errno::ISDIR | Errno::PERM) => Ok(()),
        Err(errno) => Err(fact(errno)),
    }
}
