//! A disk in memory that knows what is durable: a power cut leaves what was synced, and of the rest what chance leaves.
//!
//! Contents: a sync makes a file's bytes and its size durable; of what was written since, a cut keeps any pages of 4 KiB. Names: changes
//! of folders stand in one journal, in order; a sync of a folder makes all up to its last one durable, a cut keeps any beginning of the
//! rest. A file's sync says nothing of its name.

mod durable;
pub mod mount;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use durable::{Change, Inner};
use rand::rngs::StdRng;

pub type Ino = u64;
/// What names in a folder lead to.
pub type Entries = BTreeMap<OsString, Ino>;
pub const ROOT: Ino = 1;
const PAGE: usize = 4096;

/// Why something cannot be done, as the kernel names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    Missing,
    Exists,
    NotFolder,
    IsFolder,
    NotEmpty,
    Invalid,
    /// There is no room.
    Full,
    /// The disk failed.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    File {
        bytes: Vec<u8>,
        /// What a cut is sure to leave.
        synced: Vec<u8>,
        /// Pages that were written since.
        dirty: BTreeSet<usize>,
    },
    Folder(Entries),
    Link(OsString),
    /// A socket or the like: holds nothing.
    Other,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub body: Body,
    /// Kind and permissions as in `st_mode`.
    pub mode: u32,
    pub owner: (u32, u32),
    pub changed: SystemTime,
}

/// What there is to know of something without looking into it.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    pub mode: u32,
    pub owner: (u32, u32),
    pub changed: SystemTime,
    pub size: u64,
    /// Names that lead to it; 0: it is only held open.
    pub links: u32,
}

/// What a cut took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    pub pages: u64,
    pub names: u64,
}

#[derive(Default)]
pub struct Disk {
    inner: Mutex<Inner>,
}

type Done<T> = std::result::Result<T, Error>;

impl Disk {
    /// An empty root.
    pub fn new() -> Disk {
        let disk = Disk::default();
        let root =
            Node { body: Body::Folder(BTreeMap::new()), mode: 0o040_700, owner: (0, 0), changed: SystemTime::now() };
        {
            let mut inner = disk.lock();
            inner.nodes.insert(ROOT, root);
            inner.durable.insert(ROOT, BTreeMap::new());
            inner.last = ROOT;
        }
        disk
    }

    /// With what a folder holds, all of it durable.
    pub fn of(folder: &Path) -> Result<Disk> {
        let disk = Disk::new();
        disk.copy_in(folder, ROOT)?;
        let mut inner = disk.lock();
        let files: Vec<Ino> = inner.nodes.keys().copied().collect();
        files.into_iter().for_each(|ino| inner.sync_file(ino));
        let all = inner.journal.len();
        inner.commit(all);
        drop(inner);
        Ok(disk)
    }

    fn copy_in(&self, from: &Path, to: Ino) -> Result<()> {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let whole = std::fs::metadata(from)?;
        self.set(to, Some(whole.permissions().mode()), (Some(whole.uid()), Some(whole.gid())), None)
            .map_err(|error| anyhow::anyhow!("{}: {error:?}", from.display()))?;
        for entry in std::fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
            let entry = entry?;
            let meta = entry.path().symlink_metadata()?;
            // Sockets are made anew at each start.
            if !meta.is_dir() && !meta.is_file() {
                continue;
            }
            let body = if meta.is_dir() { Body::Folder(BTreeMap::new()) } else { empty_file() };
            let made = self.make(to, &entry.file_name(), body, meta.mode(), (meta.uid(), meta.gid()));
            let ino = made.map_err(|error| anyhow::anyhow!("{}: {error:?}", entry.path().display()))?;
            if meta.is_dir() {
                self.copy_in(&entry.path(), ino)?;
            } else {
                let bytes = std::fs::read(entry.path())?;
                let written = self.write(ino, 0, &bytes);
                written.map_err(|error| anyhow::anyhow!("{}: {error:?}", entry.path().display()))?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, ino: Ino) -> Done<Node> {
        let inner = self.lock();
        let node = inner.node(ino)?;
        // Nobody wants the bytes of a file here.
        let body = match &node.body {
            Body::File { .. } => empty_file(),
            other => other.clone(),
        };
        Ok(Node { body, ..*node })
    }

    pub fn stat(&self, ino: Ino) -> Done<Stat> {
        let inner = self.lock();
        let Node { body, mode, owner, changed } = inner.node(ino)?;
        let size = if let Body::File { bytes, .. } = body { bytes.len() as u64 } else { 0 };
        let links = inner.links.get(&ino).copied().unwrap_or(0);
        Ok(Stat { mode: *mode, owner: *owner, changed: *changed, size, links })
    }

    pub fn lookup(&self, folder: Ino, name: &OsStr) -> Done<Ino> {
        self.lock().folder(folder)?.get(name).copied().ok_or(Error::Missing)
    }

    pub fn make(&self, folder: Ino, name: &OsStr, body: Body, mode: u32, owner: (u32, u32)) -> Done<Ino> {
        let mut inner = self.lock();
        if inner.folder(folder)?.contains_key(name) {
            return Err(Error::Exists);
        }
        if inner.full {
            return Err(Error::Full);
        }
        inner.last += 1;
        let ino = inner.last;
        if matches!(body, Body::Folder(_)) {
            inner.durable.insert(ino, BTreeMap::new());
        }
        inner.nodes.insert(ino, Node { body, mode, owner, changed: SystemTime::now() });
        inner.change(Change::Put { folder, name: name.to_owned(), ino })?;
        Ok(ino)
    }

    pub fn link(&self, ino: Ino, folder: Ino, name: &OsStr) -> Done<()> {
        let mut inner = self.lock();
        if inner.folder(folder)?.contains_key(name) {
            return Err(Error::Exists);
        }
        inner.change(Change::Put { folder, name: name.to_owned(), ino })
    }

    pub fn remove(&self, folder: Ino, name: &OsStr, is_folder: bool) -> Done<()> {
        let mut inner = self.lock();
        let ino = inner.folder(folder)?.get(name).copied().ok_or(Error::Missing)?;
        match &inner.node(ino)?.body {
            Body::Folder(entries) if is_folder && !entries.is_empty() => return Err(Error::NotEmpty),
            Body::Folder(_) if !is_folder => return Err(Error::IsFolder),
            Body::Folder(_) => {}
            _ if is_folder => return Err(Error::NotFolder),
            _ => {}
        }
        inner.change(Change::Take { folder, name: name.to_owned() })
    }

    /// `keep`: fails if there is something already; `swap`: both must be there.
    pub fn rename(&self, from: (Ino, &OsStr), to: (Ino, &OsStr), keep: bool, swap: bool) -> Done<()> {
        let mut inner = self.lock();
        inner.folder(from.0)?.get(from.1).ok_or(Error::Missing)?;
        let there = inner.folder(to.0)?.get(to.1).copied();
        match there {
            Some(_) if keep => return Err(Error::Exists),
            // Two names of one file: both stay.
            Some(ino) if !swap && inner.folder(from.0)?.get(from.1) == Some(&ino) => return Ok(()),
            None if swap => return Err(Error::Missing),
            Some(ino) if !swap => {
                if let Body::Folder(entries) = &inner.node(ino)?.body
                    && !entries.is_empty()
                {
                    return Err(Error::NotEmpty);
                }
            }
            _ => {}
        }
        inner.change(Change::Move { from: (from.0, from.1.to_owned()), to: (to.0, to.1.to_owned()), swap })
    }

    pub fn set(&self, ino: Ino, mode: Option<u32>, owner: (Option<u32>, Option<u32>), size: Option<u64>) -> Done<()> {
        let mut inner = self.lock();
        let node = inner.node_mut(ino)?;
        if let Some(mode) = mode {
            node.mode = (node.mode & 0o170_000) | (mode & 0o7_777);
        }
        node.owner = (owner.0.unwrap_or(node.owner.0), owner.1.unwrap_or(node.owner.1));
        node.changed = SystemTime::now();
        if let Some(size) = size {
            let Body::File { bytes, dirty, .. } = &mut node.body else { return Err(Error::Invalid) };
            let (before, size) = (bytes.len(), size as usize);
            bytes.resize(size, 0);
            dirty.extend(before.min(size) / PAGE..=before.max(size) / PAGE);
        }
        Ok(())
    }

    pub fn read(&self, ino: Ino, offset: u64, size: usize) -> Done<Vec<u8>> {
        let inner = self.lock();
        let Body::File { bytes, .. } = &inner.node(ino)?.body else { return Err(Error::Invalid) };
        let from = (offset as usize).min(bytes.len());
        Ok(bytes[from..(from + size).min(bytes.len())].to_vec())
    }

    pub fn write(&self, ino: Ino, offset: u64, data: &[u8]) -> Done<()> {
        self.be_slow();
        let mut inner = self.lock();
        let full = inner.full;
        let node = inner.node_mut(ino)?;
        node.changed = SystemTime::now();
        let Body::File { bytes, dirty, .. } = &mut node.body else { return Err(Error::Invalid) };
        let (from, to) = (offset as usize, offset as usize + data.len());
        if full && bytes.len() < to {
            return Err(Error::Full);
        }
        if bytes.len() < to {
            bytes.resize(to, 0);
        }
        bytes[from..to].copy_from_slice(data);
        if !data.is_empty() {
            dirty.extend(from / PAGE..=(to - 1) / PAGE);
        }
        Ok(())
    }

    /// A failed sync takes what it failed at for written, as kernels do: the next one is fine, and has not written it.
    pub fn sync(&self, ino: Ino) -> Done<()> {
        self.be_slow();
        let mut inner = self.lock();
        inner.syncs += 1;
        if inner.failing > 0 {
            inner.failing -= 1;
            if let Body::File { dirty, .. } = &mut inner.node_mut(ino)?.body {
                dirty.clear();
            }
            return Err(Error::Failed);
        }
        inner.sync_file(ino);
        Ok(())
    }

    pub fn sync_folder(&self, ino: Ino) -> Done<()> {
        self.be_slow();
        let mut inner = self.lock();
        inner.syncs += 1;
        let last = inner.journal.iter().rposition(|change| change.touches(ino));
        inner.commit(last.map_or(0, |at| at + 1));
        Ok(())
    }

    /// The kernel knows it from now on.
    pub fn looked_up(&self, ino: Ino) {
        *self.lock().held.entry(ino).or_default() += 1;
    }

    /// What the kernel has forgotten and no name leads to is gone.
    pub fn forget(&self, ino: Ino, times: u64) {
        let mut inner = self.lock();
        let held = inner.held.get(&ino).copied().unwrap_or(0).saturating_sub(times);
        if held > 0 {
            inner.held.insert(ino, held);
            return;
        }
        inner.held.remove(&ino);
        let named = |entries: &Entries| entries.values().any(|one| *one == ino);
        let lives = inner.links.get(&ino).is_some_and(|links| *links > 0);
        if ino != ROOT
            && !lives
            && !inner.durable.values().any(named)
            && !inner.journal.iter().any(|one| one.names(ino))
        {
            inner.nodes.remove(&ino);
            inner.links.remove(&ino);
        }
    }

    fn be_slow(&self) {
        let slow = self.lock().slow;
        if !slow.is_zero() {
            std::thread::sleep(slow);
        }
    }

    /// So many syncs of files fail from now on; 0 ends it. How many were still to come.
    pub fn fail_syncs(&self, times: u32) -> u32 {
        std::mem::replace(&mut self.lock().failing, times)
    }

    /// Each write and sync takes that much longer from now on.
    pub fn slow_down(&self, by: Duration) {
        self.lock().slow = by;
    }

    /// There is no room for anything new, or longer, from now on; or there is again.
    pub fn be_full(&self, full: bool) {
        self.lock().full = full;
    }

    pub fn is_full(&self) -> bool {
        self.lock().full
    }

    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// The power is cut, and is there again. Nobody must have anything open.
    pub fn cut_power(&self, random: &mut StdRng) -> Lost {
        self.lock().cut(random)
    }
}

pub fn empty_file() -> Body {
    Body::File { bytes: Vec::new(), synced: Vec::new(), dirty: BTreeSet::new() }
}

#[cfg(test)]
mod tests;
