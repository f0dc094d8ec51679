//! The newest entries in memory: what is not on the disk yet, and what followers and apply are about to read.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::types::RaftEntry;

/// Kept at most, once on the disk: entries and bytes.
const KEEP_ENTRIES: usize = 4_096;
const KEEP_BYTES: usize = 16 << 20;

#[derive(Default)]
pub struct Tail {
    first: u64,
    entries: VecDeque<(RaftEntry, usize)>,
    bytes: usize,
    /// Everything up to here is in the back end.
    written: Option<u64>,
}

impl Tail {
    /// Adds entries that follow the last one; returns them encoded for the back end.
    pub fn append(&mut self, entries: impl Iterator<Item = RaftEntry>) -> Vec<(u64, Bytes)> {
        let mut encoded = Vec::new();
        for entry in entries {
            let index = entry.log_id.index;
            let bytes = Bytes::from(flotilla_model::codec::encode(&entry));
            if self.entries.is_empty() || index != self.first + self.entries.len() as u64 {
                self.clear();
                self.first = index;
            }
            self.bytes += bytes.len();
            self.entries.push_back((entry, bytes.len()));
            encoded.push((index, bytes));
        }
        encoded
    }

    /// The back end holds everything up to `index`: older entries may go.
    pub fn written(&mut self, index: u64) {
        self.written = Some(self.written.map_or(index, |written| written.max(index)));
        while (self.entries.len() > KEEP_ENTRIES || self.bytes > KEEP_BYTES) && Some(self.first) <= self.written {
            self.drop_first();
        }
    }

    pub fn truncate_after(&mut self, index: Option<u64>) {
        let keep = index.map_or(0, |index| (index + 1).saturating_sub(self.first)) as usize;
        while self.entries.len() > keep {
            if let Some((_, size)) = self.entries.pop_back() {
                self.bytes -= size;
            }
        }
        self.written = self.written.min(index);
    }

    pub fn purge(&mut self, index: u64) {
        while !self.entries.is_empty() && self.first <= index {
            self.drop_first();
        }
    }

    /// First index held, if any.
    pub fn first(&self) -> Option<u64> {
        (!self.entries.is_empty()).then_some(self.first)
    }

    /// Entries from `from` below `to`, as far as they are held and about `max_bytes`.
    pub fn range(&self, from: u64, to: u64, max_bytes: usize) -> Vec<RaftEntry> {
        let Some(skip) = from.checked_sub(self.first) else { return Vec::new() };
        let count = to.saturating_sub(from) as usize;
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for (entry, size) in self.entries.iter().skip(skip as usize).take(count) {
            if bytes > 0 && bytes + size > max_bytes {
                break;
            }
            bytes += size;
            taken.push(entry.clone());
        }
        taken
    }

    fn drop_first(&mut self) {
        if let Some((_, size)) = self.entries.pop_front() {
            self.bytes -= size;
            self.first += 1;
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}
