//! Lists a folder in batches: as many names as asked for are read and looked at, the rest stays in the kernel.

use std::sync::Arc;

use async_trait::async_trait;
use rustix::fs::{Dir as Names, Mode, OFlags};

use crate::backend::{Dir, DirEntry, GuardRef, Use, VfsError, VfsResult};

use super::Shared;
use super::ours::is_ours;
use super::resolve::check_path;
use super::root::OpenRoot;
use super::system::{Identity, blocking, fact, file_stat, guarded, identity, look_at, stat_of};

/// An open listing.
pub(super) struct Listing {
    shared: Arc<Shared>,
    /// `None` while a batch of it is being read.
    open: Option<Opened>,
    /// A batch was read: what comes next is probably in memory too.
    begun: bool,
}

impl Listing {
    pub fn new(shared: Arc<Shared>, open: Opened) -> Self {
        Self { shared, open: Some(open), begun: false }
    }
}

pub(super) struct Opened {
    names: Names,
    /// Our folder's identity, if this is the folder that it lies in.
    hidden: Option<Identity>,
}

impl OpenRoot {
    pub(super) fn open_dir(&self, path: &[u8], guard: &GuardRef) -> VfsResult<Opened> {
        check_path(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK;
        let folder = if path.is_empty() {
            guarded(guard, || rustix::fs::openat(&self.folder, c".", flags | OFlags::CLOEXEC, Mode::empty()))?
        } else {
            self.open_in_root(path, flags, guard)?
        };
        self.refuse_ours(&folder, guard)?;
        self.judge(&folder, b"", Use::Operate, guard)?;
        let hidden = match self.hides {
            Some(ours) if identity(&stat_of(guard, &folder)?) == self.identity => Some(ours),
            _ => None,
        };
        guard_names(folder, guard).map(|names| Opened { names, hidden })
    }
}

fn guard_names(folder: std::os::fd::OwnedFd, guard: &GuardRef) -> VfsResult<Names> {
    guard.check()?;
    Names::new(folder).map_err(fact)
}

impl Opened {
    fn read(&mut self, max: usize, guard: &GuardRef) -> VfsResult<Vec<DirEntry>> {
        let mut batch = Vec::with_capacity(max.min(1024));
        while batch.len() < max {
            guard.check()?;
            let Some(entry) = self.names.read() else { break };
            let entry = entry.map_err(fact)?;
            if let Some(entry) = self.look(entry.file_name().to_bytes(), guard)? {
                batch.push(entry);
            }
        }
        Ok(batch)
    }

    /// `None` for what is hidden or went away since its name was read.
    fn look(&self, name: &[u8], guard: &GuardRef) -> VfsResult<Option<DirEntry>> {
        if matches!(name, b"." | b"..") || (self.hidden.is_some() && is_ours(name)) {
            return Ok(None);
        }
        let folder = self.names.fd().map_err(fact)?;
        let Some(stat) = look_at(guard, folder, name)? else { return Ok(None) };
        if self.hidden == Some(identity(&stat)) {
            return Ok(None);
        }
        Ok(Some(DirEntry { name: name.to_vec(), stat: file_stat(&stat) }))
    }
}

#[async_trait]
impl Dir for Listing {
    async fn next(&mut self, max: usize, guard: &GuardRef) -> VfsResult<Vec<DirEntry>> {
        let mut open = self.open.take().ok_or(VfsError::Invalid("an earlier read of this folder was given up"))?;
        let guard = guard.clone();
        let read = move || {
            let batch = open.read(max, &guard);
            (open, batch)
        };
        // A folder that nobody looked at lately is on the disk, with an inode for each name.
        let (open, batch) = if std::mem::replace(&mut self.begun, true) {
            self.shared.prompt.run(read).await
        } else {
            blocking(read).await
        };
        self.open = Some(open);
        batch
    }
}
