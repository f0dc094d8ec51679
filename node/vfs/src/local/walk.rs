//! Walks a tree with bounded memory and descriptors, however deep and wide, and counts each inode once.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use rustix::fs::{Dir, Mode, OFlags, ResolveFlags, Statx};
use rustix::io::Errno;

use crate::backend::{FileKind, GuardRef, InodeName, Usage, VfsError, VfsResult};

use super::ours::folder_flags;
use super::system::{Identity, attempt, fact, guarded, identity, inode_name, kind, look_at, stat_of};

/// Levels that keep their descriptor and buffer; those above are opened again through `..` when the walk comes back.
const OPEN_LEVELS: usize = 64;

/// Sums files and sizes. Memory grows only with inodes of several links, and with as many others as it is told to remember.
#[derive(Default)]
pub(super) struct Counter {
    pub usage: Usage,
    /// What was counted while `count_apart` was on: each time it was met.
    pub apart: Usage,
    is_apart: bool,
    /// Counted size of inodes that may turn up again.
    linked: HashMap<InodeName, u64>,
    remembered: usize,
}

impl Counter {
    /// Counts so many inodes once although they turn up again.
    pub fn remembering(inodes: usize) -> Self {
        Counter { remembered: inodes, ..Counter::default() }
    }

    pub fn count_apart(&mut self, apart: bool) {
        self.is_apart = apart;
    }

    fn add(&mut self, stat: &Statx) {
        let size = match kind(stat) {
            FileKind::File => stat.stx_size,
            FileKind::Symlink => 0,
            FileKind::Directory | FileKind::Other => return,
        };
        if self.is_apart {
            self.apart.files += 1;
            self.apart.bytes = self.apart.bytes.saturating_add(size);
        }
        if stat.stx_nlink > 1 || self.linked.len() < self.remembered {
            return self.add_linked(inode_name(stat), size);
        }
        if self.remembered > 0 && self.linked.contains_key(&inode_name(stat)) {
            return self.add_linked(inode_name(stat), size);
        }
        self.usage.files += 1;
        self.usage.bytes = self.usage.bytes.saturating_add(size);
    }

    fn add_linked(&mut self, inode: InodeName, size: u64) {
        let files = &mut self.usage.files;
        let counted = self.linked.entry(inode).or_insert_with(|| {
            *files += 1;
            0
        });
        if size > *counted {
            self.usage.bytes = self.usage.bytes.saturating_add(size - *counted);
            *counted = size;
        }
    }
}

struct Level {
    identity: Identity,
    /// `None` while more than `OPEN_LEVELS` are open below it.
    names: Option<Dir>,
    /// Where to go on reading after a return.
    position: i64,
}

/// Counts what lies under `root`, apart from the folder `hidden`.
pub(super) fn walk(root: OwnedFd, hidden: Option<Identity>, counter: &mut Counter, guard: &GuardRef) -> VfsResult<()> {
    let mut levels = vec![level(root, guard)?];
    while let Some(top) = levels.last_mut() {
        match next_folder(top, hidden, counter, guard)? {
            Some(folder) => {
                levels.push(level(folder, guard)?);
                if let Some(far) = levels.len().checked_sub(OPEN_LEVELS + 1) {
                    levels[far].names = None;
                }
            }
            None => {
                let done = levels.pop().expect("the loop saw a last level");
                if let Some(above) = levels.last_mut() {
                    reopen(above, &done, guard)?;
                }
            }
        }
    }
    Ok(())
}

fn level(folder: OwnedFd, guard: &GuardRef) -> VfsResult<Level> {
    let identity = identity(&stat_of(guard, &folder)?);
    Ok(Level { identity, names: Some(Dir::new(folder).map_err(fact)?), position: 0 })
}

fn open_names(level: &mut Level) -> &mut Dir {
    level.names.as_mut().expect("the lowest level is open")
}

/// Counts entries until the next folder to go into.
fn next_folder(
    level: &mut Level,
    hidden: Option<Identity>,
    counter: &mut Counter,
    guard: &GuardRef,
) -> VfsResult<Option<OwnedFd>> {
    loop {
        guard.check()?;
        let Some(entry) = open_names(level).read() else { return Ok(None) };
        let entry = match entry {
            Ok(entry) => entry,
            // The folder was removed, so it was empty.
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(fact(errno)),
        };
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        level.position = entry.offset();
        let folder = open_names(level).fd().map_err(fact)?;
        let Some(stat) = look_at(guard, folder, name)? else { continue };
        if kind(&stat) != FileKind::Directory {
            counter.add(&stat);
        } else if hidden != Some(identity(&stat))
            && let Some(below) = enter_below(folder, name, guard)?
        {
            return Ok(Some(below));
        }
    }
}

/// `None` for what is no folder any more, or is another mount (not part of this storage).
fn enter_below(folder: std::os::fd::BorrowedFd<'_>, name: &[u8], guard: &GuardRef) -> VfsResult<Option<OwnedFd>> {
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    match attempt(guard, || rustix::fs::openat2(folder, name, folder_flags(), Mode::empty(), resolve))? {
        Ok(below) => Ok(Some(below)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(Errno::XDEV) => {
            tracing::warn!(name = %String::from_utf8_lossy(name), "another mount inside a root is not scanned");
            Ok(None)
        }
        Err(errno) => Err(fact(errno)),
    }
}

fn reopen(above: &mut Level, done: &Level, guard: &GuardRef) -> VfsResult<()> {
    if above.names.is_some() {
        return Ok(());
    }
    let below = done.names.as_ref().expect("the lowest level is open").fd().map_err(fact)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = guarded(guard, || rustix::fs::openat(below, c"..", flags, Mode::empty()))?;
    if identity(&stat_of(guard, &folder)?) != above.identity {
        return Err(VfsError::Io(std::io::Error::other("a folder was moved while it was scanned")));
    }
    let mut names = Dir::new(folder).map_err(fact)?;
    names.seek(above.position).map_err(fact)?;
    above.names = Some(names);
    Ok(())
}
