//! Moves the live log into a new store, slice by slice between the groups of the writer, which go to the old one meanwhile.

use std::io;
use std::path::Path;

use sled::{Batch, Tree};

use super::entries::{self, EntryScan};
use super::files::Files;
use super::{KEY_COMMITTED, KEY_PURGED, KEY_VOTE, to_io};

/// Entries and bytes copied per turn. Bytes written meanwhile count twice, so that the copy catches up.
const SLICE_ENTRIES: usize = 2_048;
const SLICE_BYTES: usize = 512 << 10;

pub struct Moving {
    files: Files,
    /// The next entry to copy.
    next: u64,
    copied: u64,
}

impl Moving {
    pub fn begin(parent: &Path, number: u64) -> io::Result<Self> {
        Ok(Moving { files: Files::make(parent, number)?, next: 0, copied: 0 })
    }

    /// Entries from here on are gone from the old store; the next slice removes them from the new one before it copies.
    pub fn truncated(&mut self, from: u64) {
        self.next = self.next.min(from);
    }

    /// Copies what comes next. Whether that was all.
    pub fn slice(&mut self, old: &Tree, first: u64, written: usize) -> io::Result<bool> {
        self.next = self.next.max(first);
        let mut batch = Batch::default();
        entries::remove(&self.files.tree, &mut batch, self.next, u64::MAX, usize::MAX)?;
        self.files.tree.apply_batch(std::mem::take(&mut batch)).map_err(to_io)?;
        let (mut count, mut bytes) = (0, 0);
        let mut scan = EntryScan::new(old, self.next..=u64::MAX);
        while count < SLICE_ENTRIES && bytes < SLICE_BYTES + 2 * written {
            let Some(found) = scan.next() else { break };
            let (index, entry) = found?;
            entries::put(&mut batch, index, &entry)?;
            self.next = index + 1;
            count += 1;
            bytes += entry.len();
        }
        let all = scan.next().is_none();
        self.files.tree.apply_batch(batch).map_err(to_io)?;
        self.files.sync()?;
        self.copied += bytes as u64;
        Ok(all)
    }

    /// Copies the rest that is not entries and makes the new store the log. Returns it with the bytes that were copied.
    pub fn finish(self, old: &Tree) -> io::Result<(Files, u64)> {
        let mut batch = Batch::default();
        for key in [KEY_VOTE, KEY_COMMITTED, KEY_PURGED] {
            if let Some(value) = old.get(key).map_err(to_io)? {
                batch.insert(key, value);
            }
        }
        self.files.tree.apply_batch(batch).map_err(to_io)?;
        self.files.complete()?;
        Ok((self.files, self.copied))
    }
}
