//! From a client's path to an open parent folder and a last name. The kernel resolves, under the root's descriptor; no path is checked first
//! and opened later.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags, Statx};
use rustix::io::Errno;

use crate::backend::{FileKind, GuardRef, Use, VfsError, VfsResult};

use super::root::OpenRoot;
use super::system::{attempt, fact, guarded, kind, look_at, stat_at};

/// Symlinks that an upload follows at its last name.
pub(super) const UPLOAD_HOPS: usize = 8;
/// Symlinks that other operations follow at their last name, as the kernel does.
pub(super) const HOPS: usize = 40;
/// The kernel's bound on a path, its NUL included.
const PATH_MAX: usize = 4096;

/// What a folder is opened for: descriptors of `Names` cannot be synced, but need no right to read the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Names,
    Sync,
}

/// A last name in an open folder; nothing is said about whether it exists.
pub(super) struct Spot {
    pub folder: Arc<OwnedFd>,
    pub name: Vec<u8>,
    /// Path of the folder as it was resolved: may contain symlinks and, after a hop, `..`.
    folder_path: Vec<u8>,
}

/// A spot that is no symlink, and what is there.
pub(super) struct Found {
    pub spot: Spot,
    pub stat: Option<Statx>,
}

impl Spot {
    /// Opens what is at the spot; a symlink there is refused with `LinkLoop`.
    pub fn open(&self, flags: OFlags, mode: Mode, guard: &GuardRef) -> VfsResult<OwnedFd> {
        let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        guarded(guard, || rustix::fs::openat2(&self.folder, &self.name[..], flags, mode, resolve))
    }

    /// A descriptor of what is there, whatever it is, for metadata.
    pub fn open_path(&self, guard: &GuardRef) -> VfsResult<OwnedFd> {
        open_path_at(&self.folder, &self.name, guard)
    }

    fn again(&self) -> Spot {
        Spot { folder: self.folder.clone(), name: self.name.clone(), folder_path: self.folder_path.clone() }
    }

    pub fn look(&self, guard: &GuardRef) -> VfsResult<Option<Statx>> {
        look_at(guard, &self.folder, &self.name)
    }

    pub fn stat(&self, guard: &GuardRef) -> VfsResult<Statx> {
        stat_at(guard, &self.folder, &self.name)
    }

    pub fn place(&self) -> (&OwnedFd, &[u8]) {
        (&self.folder, &self.name)
    }
}

/// A client's path as the front ends promise it: relative, canonical, no NUL. Whatever else comes is refused, not mended.
pub(super) fn check_path(path: &[u8]) -> VfsResult<()> {
    if path.len() >= PATH_MAX {
        return Err(VfsError::NameTooLong);
    }
    if path.contains(&0) {
        return Err(VfsError::Invalid("a name contains NUL"));
    }
    if !path.is_empty() && path.split(|&byte| byte == b'/').any(|part| matches!(part, b"" | b"." | b"..")) {
        return Err(VfsError::Invalid("a path is not canonical"));
    }
    Ok(())
}

/// A descriptor for metadata of a name in a folder; a symlink there is refused with `LinkLoop`.
pub(super) fn open_path_at(folder: &OwnedFd, name: &[u8], guard: &GuardRef) -> VfsResult<OwnedFd> {
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    guarded(guard, || rustix::fs::openat2(folder, name, flags, Mode::empty(), resolve))
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

impl OpenRoot {
    /// Opens a folder; symlinks on the way and at its end are followed, never out of the root.
    pub(super) fn folder(&self, path: &[u8], access: Access, guard: &GuardRef) -> VfsResult<Arc<OwnedFd>> {
        if path.is_empty() {
            return Ok(self.folder.clone());
        }
        let kind = match access {
            Access::Names => OFlags::PATH,
            Access::Sync => OFlags::RDONLY,
        };
        let folder = self.open_in_root(path, kind | OFlags::DIRECTORY, guard)?;
        self.refuse_ours(&folder, guard)?;
        Ok(Arc::new(folder))
    }

    /// `openat2` under the root. What it finds may lie in `.flotilla`: the caller looks.
    pub(super) fn open_in_root(&self, path: &[u8], flags: OFlags, guard: &GuardRef) -> VfsResult<OwnedFd> {
        if path.len() >= PATH_MAX {
            return Err(VfsError::NameTooLong);
        }
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let flags = flags | OFlags::CLOEXEC;
        guarded(guard, || rustix::fs::openat2(self.folder.as_fd(), path, flags, Mode::empty(), resolve))
    }

    /// The parent folder and last name of a path. The root itself has none: `Denied`.
    pub(super) fn spot(&self, path: &[u8], access: Access, guard: &GuardRef) -> VfsResult<Spot> {
        check_path(path)?;
        self.spot_of_raw(path, access, guard)
    }

    fn spot_of_raw(&self, path: &[u8], access: Access, guard: &GuardRef) -> VfsResult<Spot> {
        let (folder_path, name) = split(path);
        if name.is_empty() {
            return Err(VfsError::Denied);
        }
        let folder = self.folder(folder_path, access, guard)?;
        self.refuse_our_name(&folder, name, guard)?;
        self.judge(&folder, name, Use::Operate, guard)?;
        Ok(Spot { folder, name: name.to_vec(), folder_path: folder_path.to_vec() })
    }

    /// Lets the guard decide on a folder that was reached.
    pub(super) fn judge(&self, folder: &OwnedFd, name: &[u8], how: Use, guard: &GuardRef) -> VfsResult<()> {
        guard.may_use(name, how, &mut || self.path_below(folder, guard))
    }

    /// As `judge`, for a folder that is what the operation is about: its name is one in the folder above.
    pub(super) fn judge_itself(&self, folder: &OwnedFd, guard: &GuardRef) -> VfsResult<()> {
        guard.may_use(b"", Use::Operate, &mut || Ok(split(&self.path_below(folder, guard)?).0.to_vec()))
    }

    /// As `spot`, but follows symlinks at the last name.
    pub(super) fn follow(&self, path: &[u8], access: Access, hops: usize, guard: &GuardRef) -> VfsResult<Found> {
        let mut spot = self.spot(path, access, guard)?;
        for _ in 0..=hops {
            let stat = spot.look(guard)?;
            if stat.as_ref().is_none_or(|stat| kind(stat) != FileKind::Symlink) {
                return Ok(Found { spot, stat });
            }
            spot = self.hop(&spot, access, guard)?;
        }
        Err(VfsError::LinkLoop)
    }

    /// The spot that the symlink at a spot names; the spot itself when it is no symlink any more.
    pub(super) fn hop(&self, spot: &Spot, access: Access, guard: &GuardRef) -> VfsResult<Spot> {
        let target = match attempt(guard, || rustix::fs::readlinkat(&spot.folder, &spot.name[..], Vec::new()))? {
            Ok(target) => target,
            Err(Errno::INVAL) => return Ok(spot.again()),
            Err(errno) => return Err(fact(errno)),
        };
        let next = link_target(&spot.folder_path, target.as_bytes())?;
        self.spot_of_raw(&next, access, guard)
    }
}

/// Where a link leads, left to the kernel to resolve: `..` in it means the real parent, not the one that the path shows.
fn link_target(folder_path: &[u8], target: &[u8]) -> VfsResult<Vec<u8>> {
    let mut path =
        if target.starts_with(b"/") || folder_path.is_empty() { Vec::new() } else { [folder_path, b"/"].concat() };
    path.extend_from_slice(target);
    let start = path.iter().position(|&byte| byte != b'/').unwrap_or(path.len());
    path.drain(..start);
    // A link to `x/`, `..` or the root names a folder, and no last name that an operation could use.
    match split(&path).1 {
        b"" | b"." | b".." => Err(VfsError::IsDirectory),
        _ => Ok(path),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_relative_paths_are_taken() {
        for good in [&b""[..], b"a", b"a/b", b"...", b"a/...", b"-x", b"\xff/ y "] {
            assert!(check_path(good).is_ok(), "{good:?}");
        }
        for bad in [&b"/"[..], b"/a", b"a/", b"a//b", b".", b"..", b"a/../b", b"a/.", b"a\0b"] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
        assert!(matches!(check_path(&[b'a'; 4096]), Err(VfsError::NameTooLong)));
    }

    #[test]
    fn link_targets_join_to_the_folder_of_the_link() {
        assert_eq!(link_target(b"a/b", b"../c").unwrap(), b"a/b/../c");
        assert_eq!(link_target(b"a", b"//etc/x").unwrap(), b"etc/x");
        assert_eq!(link_target(b"", b"x").unwrap(), b"x");
        assert!(matches!(link_target(b"a", b".."), Err(VfsError::IsDirectory)));
        assert!(matches!(link_target(b"a", b"/"), Err(VfsError::IsDirectory)));
    }
}
