//! The canonical path of what a path means, as far as it exists.

use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{CWD, OFlags};

use crate::backend::{GuardRef, VfsError, VfsResult};

use super::ours::is_ours;
use super::resolve::check_path;
use super::root::OpenRoot;
use super::system::{descriptor_path, guarded};

impl OpenRoot {
    pub(super) fn real_path(&self, path: &[u8], guard: &GuardRef) -> VfsResult<Vec<u8>> {
        check_path(path)?;
        let mut exists = path.len();
        loop {
            match self.real_path_of(&path[..exists], guard) {
                Ok(real) => {
                    let rest = path[exists..].strip_prefix(b"/").unwrap_or(&path[exists..]);
                    return self.refuse_real(join(real, rest));
                }
                // The parent, then: a path has at most 2,048 of them.
                Err(VfsError::NotFound) if exists > 0 => {
                    exists = path[..exists].iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn real_path_of(&self, path: &[u8], guard: &GuardRef) -> VfsResult<Vec<u8>> {
        if path.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.open_in_root(path, OFlags::PATH, guard)?;
        self.path_below(&found, guard)
    }

    /// The kernel's path of a descriptor, below the root's. `NotFound` if it was removed or moved out meanwhile.
    pub(super) fn path_below(&self, found: impl AsFd, guard: &GuardRef) -> VfsResult<Vec<u8>> {
        if found.as_fd().as_raw_fd() == self.folder.as_raw_fd() {
            return Ok(Vec::new());
        }
        let kernel_path = |file: std::os::fd::BorrowedFd<'_>| {
            let link = descriptor_path(file);
            guarded(guard, || rustix::fs::readlinkat(CWD, &link, Vec::new()))
        };
        let root = kernel_path(self.folder.as_fd())?;
        let found = kernel_path(found.as_fd())?;
        let root = root.as_bytes().strip_suffix(b"/").unwrap_or(root.as_bytes());
        let below = found.as_bytes().strip_prefix(root).ok_or(VfsError::NotFound)?;
        match below {
            b"" => Ok(Vec::new()),
            [b'/', rest @ ..] => Ok(rest.to_vec()),
            _ => Err(VfsError::NotFound),
        }
    }

    fn refuse_real(&self, path: Vec<u8>) -> VfsResult<Vec<u8>> {
        let first = path.split(|&byte| byte == b'/').next().unwrap_or_default();
        if self.hides.is_some() && is_ours(first) { Err(VfsError::Denied) } else { Ok(path) }
    }
}

pub(super) fn join(folder: Vec<u8>, name: &[u8]) -> Vec<u8> {
    match (folder.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (_, true) => folder,
        _ => [&folder[..], b"/", name].concat(),
    }
}
