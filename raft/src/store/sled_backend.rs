//! The log on sled 0.34.7, under the rules that make it durable (`reference/raft.md` 3d).
//!
//! Plain `flush` never calls fsync: acknowledged entries were lost in eight power cuts of eight. So each group is one
//! batch on one tree, then `flush`, then `fdatasync` of our own descriptor of sled's file. Values stay below 4 KiB, else
//! sled writes blob files that nobody syncs. A leftover `snap.*.generating` makes sled refuse to open: it is removed first.

use std::fs::{self, File};
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;

use bytes::Bytes;
use sled::{Batch, Db, Tree};

use super::backend::{LogBackend, LogReads, Op, Recovered};
use crate::folder::sync_dir;
use crate::metric;
use crate::types::{LogId, Vote};

/// A leaf holds up to 16 values, some more while it splits or merges, and is moved out of the log into a file that nobody
/// syncs once it has 128 KiB (seen in a test with values of 16 KiB).
const CHUNK: usize = 4 * 1024 - 64;
const KEY_VOTE: &[u8] = b"v";
const KEY_COMMITTED: &[u8] = b"c";
const KEY_PURGED: &[u8] = b"p";
/// Entries: this byte, the index and the chunk's number, both big-endian.
const ENTRY: u8 = b'e';
/// Length and CRC32 of the whole entry, before the first chunk's bytes.
const HEADER: usize = 8;

pub struct SledWriter {
    db: Db,
    tree: Tree,
    file: File,
    purged: Option<u64>,
}

pub struct SledReader {
    tree: Tree,
}

/// Opens or makes the store and checks what it holds.
pub fn open(dir: &Path) -> io::Result<(SledWriter, SledReader, Recovered)> {
    let fresh = !dir.exists();
    fs::create_dir_all(dir)?;
    remove_generating(dir)?;
    let db = sled::Config::new()
        .path(dir)
        .flush_every_ms(None)
        .cache_capacity(64 << 20)
        .open()
        .map_err(|error| io::Error::other(format!("sled store {}: {error}", dir.display())))?;
    let tree = db.open_tree(b"raft").map_err(to_io)?;
    db.flush().map_err(to_io)?;
    let file = File::open(dir.join("db"))?;
    file.sync_all()?;
    sync_dir(dir)?;
    if fresh {
        sync_dir(dir.parent().unwrap_or(Path::new("/")))?;
    }
    let recovered = recover(&tree)?;
    report_blobs(dir)?;
    let reader = SledReader { tree: tree.clone() };
    let purged = recovered.purged.map(|id| id.index);
    Ok((SledWriter { db, tree, file, purged }, reader, recovered))
}

/// A crash while opening leaves such files, and the next open then reports damage; without them all data is right.
fn remove_generating(dir: &Path) -> io::Result<()> {
    for found in fs::read_dir(dir)? {
        let path = found?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            tracing::warn!(file = %path.display(), "removing unfinished snapshot of the log engine");
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Values are chunked so that sled never writes a blob. One that is there is a bug of ours; its entries pass their checksums.
fn report_blobs(dir: &Path) -> io::Result<()> {
    match fs::read_dir(dir.join("blobs")) {
        Ok(found) => {
            let blobs = found.count();
            if blobs > 0 {
                tracing::error!(event = "log_blobs", blobs, "the log engine wrote files that it does not sync");
            }
            metrics::gauge!("flotilla_raft_log_blobs").set(blobs as f64);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn recover(tree: &Tree) -> io::Result<Recovered> {
    let vote = read_key::<Vote>(tree, KEY_VOTE)?;
    let committed = read_key::<LogId>(tree, KEY_COMMITTED)?;
    let purged = read_key::<LogId>(tree, KEY_PURGED)?;
    let first = purged.map_or(0, |id| id.index + 1);
    let mut present: Option<(u64, u64)> = None;
    for found in EntryScan::new(tree, first..=u64::MAX) {
        let (index, _) = found?;
        match &mut present {
            Some((_, last)) if *last + 1 == index => *last = index,
            Some((_, last)) => return Err(damaged(format!("entries {} to {} are missing", *last + 1, index - 1))),
            None if purged.is_some() && index != first => {
                return Err(damaged(format!("entries {first} to {} are missing", index - 1)));
            }
            None => present = Some((index, index)),
        }
    }
    Ok(Recovered { vote, committed, purged, present })
}

fn damaged(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("log store is damaged: {what}"))
}

fn to_io(error: sled::Error) -> io::Error {
    match error {
        sled::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

fn read_key<T: serde::de::DeserializeOwned>(tree: &Tree, key: &[u8]) -> io::Result<Option<T>> {
    let Some(bytes) = tree.get(key).map_err(to_io)? else { return Ok(None) };
    let (sum, body) = bytes.split_first_chunk::<4>().ok_or_else(|| damaged("a short value".to_owned()))?;
    if u32::from_le_bytes(*sum) != crc32fast::hash(body) {
        return Err(damaged("a value's checksum is wrong".to_owned()));
    }
    flotilla_model::codec::decode(body).map(Some).map_err(|error| damaged(error.to_string()))
}

fn value_of<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let body = flotilla_model::codec::encode(value);
    let mut bytes = crc32fast::hash(&body).to_le_bytes().to_vec();
    bytes.extend_from_slice(&body);
    bytes
}

fn entry_key(index: u64, chunk: u16) -> [u8; 11] {
    let mut key = [ENTRY; 11];
    key[1..9].copy_from_slice(&index.to_be_bytes());
    key[9..].copy_from_slice(&chunk.to_be_bytes());
    key
}

fn index_of(key: &[u8]) -> u64 {
    key.get(1..9).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}

impl SledWriter {
    fn put_entry(batch: &mut Batch, index: u64, entry: &[u8]) -> io::Result<()> {
        let mut first = Vec::with_capacity(HEADER + entry.len().min(CHUNK));
        first.extend_from_slice(&(entry.len() as u32).to_le_bytes());
        first.extend_from_slice(&crc32fast::hash(entry).to_le_bytes());
        let (head, rest) = entry.split_at(entry.len().min(CHUNK - HEADER));
        first.extend_from_slice(head);
        batch.insert(&entry_key(index, 0), first);
        for (number, chunk) in rest.chunks(CHUNK).enumerate() {
            let number = u16::try_from(number + 1).map_err(|_| io::Error::other("an entry is larger than 1 GiB"))?;
            batch.insert(&entry_key(index, number), chunk);
        }
        Ok(())
    }

    fn remove_range(&self, batch: &mut Batch, from: u64, to: u64, limit: usize) -> io::Result<usize> {
        let mut removed = 0;
        for key in self.tree.range(entry_key(from, 0)..=entry_key(to, u16::MAX)).keys().take(limit) {
            batch.remove(key.map_err(to_io)?);
            removed += 1;
        }
        Ok(removed)
    }

    fn add(&mut self, batch: &mut Batch, op: &Op) -> io::Result<()> {
        match op {
            Op::Append(entries) => {
                entries.iter().try_for_each(|(index, entry)| Self::put_entry(batch, *index, entry))?;
            }
            Op::Vote(vote) => batch.insert(KEY_VOTE, value_of(vote)),
            Op::Committed(Some(id)) => batch.insert(KEY_COMMITTED, value_of(id)),
            Op::Committed(None) => batch.remove(KEY_COMMITTED),
            Op::TruncateAfter(index) => {
                self.remove_range(batch, index.map_or(0, |index| index + 1), u64::MAX, usize::MAX)?;
            }
            Op::Purged(id) => {
                batch.insert(KEY_PURGED, value_of(id));
                self.purged = Some(id.index);
            }
        }
        Ok(())
    }
}

impl LogBackend for SledWriter {
    /// A truncation and what follows it go into batches of their own, since it looks at what is stored.
    fn write(&mut self, ops: &[Op]) -> io::Result<()> {
        let mut batch = Batch::default();
        for op in ops {
            if matches!(op, Op::TruncateAfter(_)) {
                self.tree.apply_batch(std::mem::take(&mut batch)).map_err(to_io)?;
            }
            self.add(&mut batch, op)?;
            if matches!(op, Op::TruncateAfter(_)) {
                self.tree.apply_batch(std::mem::take(&mut batch)).map_err(to_io)?;
            }
        }
        self.tree.apply_batch(batch).map_err(to_io)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.db.flush().map_err(to_io)?;
        self.file.sync_data()?;
        metric::fsync();
        Ok(())
    }

    fn purge_slice(&mut self, limit: usize) -> io::Result<bool> {
        let Some(purged) = self.purged else { return Ok(false) };
        let mut batch = Batch::default();
        let removed = self.remove_range(&mut batch, 0, purged, limit)?;
        self.tree.apply_batch(batch).map_err(to_io)?;
        Ok(removed == limit)
    }
}

impl LogReads for SledReader {
    fn entries(&self, range: RangeInclusive<u64>, max_bytes: usize) -> io::Result<Vec<(u64, Bytes)>> {
        let (mut taken, mut bytes, mut next) = (Vec::new(), 0, None);
        for found in EntryScan::new(&self.tree, range) {
            let (index, entry) = found?;
            if next.is_some_and(|next| index != next) || (bytes > 0 && bytes + entry.len() > max_bytes) {
                break;
            }
            bytes += entry.len();
            next = Some(index + 1);
            taken.push((index, entry));
        }
        Ok(taken)
    }
}

/// Puts entries together from their chunks and checks length and CRC.
struct EntryScan {
    keys: std::iter::Peekable<sled::Iter>,
}

impl EntryScan {
    fn new(tree: &Tree, range: RangeInclusive<u64>) -> Self {
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
