//! Moves the live log into a new store, slice by slice between the groups of the writer, which go to the old one meanwhile.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread::JoinHandle;

use sled::{Batch, Tree};

use super::entries::{self, EntryScan};
use super::files::{self, Files};
use super::{KEY_COMMITTED, KEY_PURGED, KEY_VOTE, to_io};

/// Entries and bytes copied per turn. Bytes written meanwhile count twice, so that the copy catches up.
const SLICE_ENTRIES: usize = 2_048;
const SLICE_BYTES: usize = 512 << 10;

pub struct Moving {
    new: New,
    /// The next entry to copy.
    next: u64,
    copied: u64,
}

/// The new store is made on a thread of its own: its file grows, and the log must not wait for that.
enum New {
    Coming(Coming),
    Here(Files),
}

struct Coming(Receiver<io::Result<Files>>);

impl Drop for Coming {
    /// Whoever removes or locks the folder next finds nobody at work in it.
    fn drop(&mut self) {
        let _ = self.0.recv();
    }
}

impl Moving {
    pub fn begin(parent: &Path, number: u64, runway: u64) -> io::Result<Self> {
        let (made, coming) = sync_channel(1);
        let parent = parent.to_owned();
        std::thread::Builder::new().name("flotilla-log-new".to_owned()).spawn(move || {
            let files = Files::make(&parent, number).and_then(|files| files.lay_runway(runway).map(|()| files));
            let _ = made.send(files);
        })?;
        Ok(Moving { new: New::Coming(Coming(coming)), next: 0, copied: 0 })
    }

    /// `None` while it is being made.
    fn files(&mut self) -> io::Result<Option<&Files>> {
        if let New::Coming(coming) = &self.new {
            match coming.0.try_recv() {
                Ok(files) => self.new = New::Here(files?),
                Err(TryRecvError::Empty) => return Ok(None),
                Err(TryRecvError::Disconnected) => return Err(io::Error::other("making a new store has failed")),
            }
        }
        Ok(if let New::Here(files) = &self.new { Some(files) } else { None })
    }

    /// Entries from here on are gone from the old store; the next slice removes them from the new one before it copies.
    pub fn truncated(&mut self, from: u64) {
        self.next = self.next.min(from);
    }

    /// Copies what comes next. Whether that was all.
    pub fn slice(&mut self, old: &Tree, first: u64, written: usize) -> io::Result<bool> {
        let mut next = self.next.max(first);
        let Some(files) = self.files()? else { return Ok(false) };
        let mut batch = Batch::default();
        entries::remove(&files.tree, &mut batch, next, u64::MAX, usize::MAX)?;
        files.tree.apply_batch(std::mem::take(&mut batch)).map_err(to_io)?;
        let (mut count, mut bytes) = (0, 0);
        let mut scan = EntryScan::new(old, next..=u64::MAX);
        while count < SLICE_ENTRIES && bytes < SLICE_BYTES + 2 * written {
            let Some(found) = scan.next() else { break };
            let (index, entry) = found?;
            entries::put(&mut batch, index, &entry)?;
            next = index + 1;
            count += 1;
            bytes += entry.len();
        }
        let all = scan.next().is_none();
        files.tree.apply_batch(batch).map_err(to_io)?;
        files.sync()?;
        self.next = next;
        self.copied += bytes as u64;
        Ok(all)
    }

    /// Copies the rest that is not entries and makes the new store the log. Returns it with the bytes that were copied.
    pub fn finish(self, old: &Tree) -> io::Result<(Files, u64)> {
        let New::Here(files) = self.new else { return Err(io::Error::other("the new store is not there yet")) };
        let mut batch = Batch::default();
        for key in [KEY_VOTE, KEY_COMMITTED, KEY_PURGED] {
            if let Some(value) = old.get(key).map_err(to_io)? {
                batch.insert(key, value);
            }
        }
        files.tree.apply_batch(batch).map_err(to_io)?;
        files.complete()?;
        Ok((files, self.copied))
    }
}

/// Closes and removes the store that the log has left, on a thread of its own: removing a file waits for the journal, and the
/// log must not.
#[derive(Default)]
pub struct Leaving(Option<JoinHandle<()>>);

impl Leaving {
    pub fn begin(parent: &Path, left: Files, number: u64) -> io::Result<Self> {
        let parent = parent.to_owned();
        let remove = move || {
            drop(left);
            if let Err(error) = files::remove_others(&parent, number) {
                tracing::warn!(%error, "the log's former store file could not be removed");
            }
        };
        std::thread::Builder::new()
            .name("flotilla-log-old".to_owned())
            .spawn(remove)
            .map(|thread| Leaving(Some(thread)))
    }

    pub fn is_under_way(&self) -> bool {
        self.0.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Leaving {
    /// Whoever makes, removes or locks a store next finds nobody at work in the folder.
    fn drop(&mut self) {
        let _ = self.0.take().map(JoinHandle::join);
    }
}
