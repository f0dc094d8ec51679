//! Mode, owner and ACL: of new files, and taken over from the file that an upload replaces.

use std::os::fd::OwnedFd;

use rustix::fs::{Gid, Statx, Uid, XattrFlags};
use rustix::io::Errno;

use crate::backend::{GuardRef, Stopped, VfsResult};

use super::set_stat::mode_of;
use super::system::{MODE_BITS, attempt, descriptor_path, fact, guarded, stat_of};

const ACL: &str = "system.posix_acl_access";
/// More than any file system stores for an ACL of a thousand entries.
const ACL_MAX: usize = 64 * 1024;

/// Undoes what the umask of the process took from the mode of a new file.
pub(super) fn fix_mode(file: &OwnedFd, mode: u32, guard: &GuardRef) -> VfsResult<()> {
    let stat = stat_of(guard, file)?;
    if u32::from(stat.stx_mode) & MODE_BITS == mode {
        return Ok(());
    }
    guarded(guard, || rustix::fs::fchmod(file, mode_of(mode)))
}

/// What the client set itself on the upload stays.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chosen {
    pub mode: bool,
    pub owner: bool,
}

/// Copies owner, ACL and mode, in this order, from `old` (opened with `O_PATH`) to the upload. Owner and ACL as far as the system lets us.
/// Says whether the upload was changed.
pub(super) fn take_over(old: &OwnedFd, new: &OwnedFd, chosen: Chosen, guard: &GuardRef) -> VfsResult<bool> {
    let (was, is) = (stat_of(guard, old)?, stat_of(guard, new)?);
    let has_owner = !chosen.owner && copy_owner(&was, &is, new, guard)?;
    let own_mode = if chosen.mode { u32::from(is.stx_mode) } else { u32::from(was.stx_mode) } & MODE_BITS;
    let has_acl = copy_acl(old, new, guard)?;
    let has_mode = has_acl || u32::from(is.stx_mode) & MODE_BITS != own_mode;
    if has_mode {
        guarded(guard, || rustix::fs::fchmod(new, mode_of(own_mode)))?;
    }
    Ok(has_owner || has_mode)
}

fn copy_owner(was: &Statx, is: &Statx, new: &OwnedFd, guard: &GuardRef) -> VfsResult<bool> {
    if (was.stx_uid, was.stx_gid) == (is.stx_uid, is.stx_gid) {
        return Ok(false);
    }
    let (uid, gid) = (Uid::from_raw(was.stx_uid), Gid::from_raw(was.stx_gid));
    match attempt(guard, || rustix::fs::fchown(new, Some(uid), Some(gid)))? {
        Ok(()) => Ok(true),
        Err(Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(fact(errno)),
    }
}

/// Says whether there was an ACL.
fn copy_acl(old: &OwnedFd, new: &OwnedFd, guard: &GuardRef) -> VfsResult<bool> {
    let Some(acl) = read_acl(old, guard)? else { return Ok(false) };
    match attempt(guard, || rustix::fs::fsetxattr(new, ACL, &acl, XattrFlags::empty()))? {
        Ok(()) => Ok(true),
        Err(errno) => {
            tracing::warn!(error = %errno, "the ACL of a replaced file could not be copied");
            Ok(false)
        }
    }
}

fn read_acl(old: &OwnedFd, guard: &GuardRef) -> Result<Option<Vec<u8>>, Stopped> {
    let path = descriptor_path(old);
    let mut acl = vec![0; ACL_MAX];
    match attempt(guard, || rustix::fs::getxattr(&path, ACL, &mut acl[..]))? {
        Ok(length) => {
            acl.truncate(length);
            Ok(Some(acl))
        }
        // No ACL, or a file system without them.
        Err(_) => Ok(None),
    }
}
