//! How entries lie in a tree: chunks below 4 KiB under (index, chunk number), the first with length and checksum of the whole.

use std::io;
use std::ops::RangeInclusive;

use bytes::Bytes;
use sled::{Batch, Tree};

use super::{damaged, to_io};

/// A leaf holds up to 16 values, some more while it splits or merges, and is moved out of the log into a file that nobody
/// syncs once it has 128 KiB (seen in a test with values of 16 KiB).
const CHUNK: usize = 4 * 1024 - 64;
/// Entries: this byte, the index and the chunk's number, both big-endian.
const ENTRY: u8 = b'e';
/// Length and CRC32 of the whole entry, before the first chunk's bytes.
const HEADER: usize = 8;

fn entry_key(index: u64, chunk: u16) -> [u8; 11] {
    let mut key = [ENTRY; 11];
    key[1..9].copy_from_slice(&index.to_be_bytes());
    key[9..].copy_from_slice(&chunk.to_be_bytes());
    key
}

fn index_of(key: &[u8]) -> u64 {
    key.get(1..9).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// Adds an entry to a batch.
pub fn put(batch: &mut Batch, index: u64, entry: &[u8]) -> io::Result<()> {
    let mut first = Vec::with_capacity(HEADER + entry.len().min(CHUNK));
    first.extend_from_slice(&(entry.len() as u32).to_le_bytes());
    first.extend_from_slice(&crc32fast::hash(entry).to_le_bytes());
    let (head, rest) = entry.split_at(entry.len().min(CHUNK - HEADER));
    first.extend_from_slice(head);
    batch.insert(&entry_key(index, 0), first);
    for (number, chunk) in rest.chunks(CHUNK).enumerate() {
        let number = u16::try_from(number + 1).map_err(|_| io::Error::other("an entry is larger than 256 MiB"))?;
        batch.insert(&entry_key(index, number), chunk);
    }
    Ok(())
}

/// Adds the removal of at most `limit` keys of the entries `from..=to` to a batch; returns how many.
pub fn remove(tree: &Tree, batch: &mut Batch, from: u64, to: u64, limit: usize) -> io::Result<usize> {
    let mut removed = 0;
    for key in tree.range(entry_key(from, 0)..=entry_key(to, u16::MAX)).keys().take(limit) {
        batch.remove(key.map_err(to_io)?);
        removed += 1;
    }
    Ok(removed)
}

/// Puts entries together from their chunks and checks length and CRC.
pub struct EntryScan {
    keys: std::iter::Peekable<sled::Iter>,
}

impl EntryScan {
    pub fn new(tree: &Tree, range: RangeInclusive<u64>) -> Self {
        let keys = tree.range(entry_key(*range.start(), 0)..=entry_key(*range.end(), u16::MAX));
        EntryScan { keys: keys.peekable() }
    }

    fn next_entry(&mut self) -> io::Result<Option<(u64, Bytes)>> {
        let Some(first) = self.keys.next() else { return Ok(None) };
        let (key, value) = first.map_err(to_io)?;
        let index = index_of(&key);
        let bad = |why: &str| damaged(format!("entry {index} {why}"));
        let (header, head) = value.split_first_chunk::<HEADER>().ok_or_else(|| bad("is too short"))?;
        if key.as_ref() != entry_key(index, 0) {
            return Err(bad("has no beginning"));
        }
        let mut entry = head.to_vec();
        while let Some(Ok((key, chunk))) = self.keys.peek() {
            if index_of(key) != index {
                break;
            }
            entry.extend_from_slice(chunk);
            self.keys.next();
        }
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let sum = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        if entry.len() as u64 != u64::from(length) || crc32fast::hash(&entry) != sum {
            return Err(bad("does not match its checksum"));
        }
        Ok(Some((index, entry.into())))
    }
}

impl Iterator for EntryScan {
    type Item = io::Result<(u64, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}
