//! Finds out once per storage what its file system can do, by trying it in a private folder.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use crate::backend::{Capability, VfsError, VfsResult};

use super::system::fact;

const A: &str = "a";
const B: &str = "b";
const C: &str = "c";

/// Refuses a kernel (or a container's filter) without `openat2`: nothing else confines clients.
pub(super) fn require_openat2(folder: impl AsFd) -> VfsResult<()> {
    match rustix::fs::openat2(folder, c".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT) {
        Ok(_) => Ok(()),
        Err(Errno::NOSYS | Errno::PERM) => Err(VfsError::StorageRefused(
            "openat2 is missing (Linux 5.6 or newer is needed, and no filter that forbids it)".into(),
        )),
        Err(errno) => Err(fact(errno)),
    }
}

/// Tries every capability in a new folder under `ours` and removes the folder again.
pub(super) fn probe(ours: impl AsFd) -> VfsResult<Capability> {
    let name = format!("probe-{:016x}", rand::random::<u64>());
    rustix::fs::mkdirat(&ours, &name, Mode::RWXU).map_err(fact)?;
    let tried = try_all(ours.as_fd(), &name);
    remove_probe(ours.as_fd(), &name);
    tried
}

fn try_all(ours: impl AsFd, name: &str) -> VfsResult<Capability> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(ours, name, flags, Mode::empty()).map_err(fact)?;
    make_file(&folder, A)?;
    make_file(&folder, B)?;
    let no_replace = can_refuse_to_replace(&folder);
    let exchange = rustix::fs::renameat_with(&folder, A, &folder, B, RenameFlags::EXCHANGE).is_ok();
    let hard_links = rustix::fs::linkat(&folder, A, &folder, "link", AtFlags::empty()).is_ok();
    let symlinks = rustix::fs::symlinkat("target", &folder, "symlink").is_ok();
    let stat = rustix::fs::statx(&folder, A, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BTIME).map_err(fact)?;
    Ok(Capability {
        exchange,
        no_replace,
        hard_links,
        birth_time: stat.stx_mask & StatxFlags::BTIME.bits() != 0,
        case_folding: rustix::fs::statat(&folder, "A", AtFlags::SYMLINK_NOFOLLOW).is_ok(),
        symlinks,
        random_writes: true,
    })
}

/// Some file systems take the flag and replace all the same, so both answers are tried.
fn can_refuse_to_replace(folder: &OwnedFd) -> bool {
    let refused = rustix::fs::renameat_with(folder, A, folder, B, RenameFlags::NOREPLACE);
    if refused != Err(Errno::EXIST) {
        return false;
    }
    let there = rustix::fs::renameat_with(folder, A, folder, C, RenameFlags::NOREPLACE);
    there.is_ok() && rustix::fs::renameat(folder, C, folder, A).is_ok()
}

fn make_file(folder: &OwnedFd, name: &str) -> VfsResult<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR).map(drop).map_err(fact)
}

/// What stays behind here is empty and harmless; it is not worth refusing a storage for.
fn remove_probe(ours: impl AsFd, name: &str) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if let Ok(folder) = rustix::fs::openat(&ours, name, flags, Mode::empty()) {
        for file in [A, B, C, "link", "symlink"] {
            let _ = rustix::fs::unlinkat(&folder, file, AtFlags::empty());
        }
    }
    if let Err(errno) = rustix::fs::unlinkat(&ours, name, AtFlags::REMOVEDIR) {
        tracing::warn!(folder = name, error = %errno, "probe folder stays behind");
    }
}
