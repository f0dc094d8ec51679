//! The log on sled 0.34.7, under the rules that make it durable (`reference/raft.md` 3d).
//!
//! Plain `flush` never calls fsync: acknowledged entries were lost in eight power cuts of eight. So each group is one
//! batch on one tree, then `flush`, then `fdatasync` of our own descriptor of sled's file. Values stay below 4 KiB, else
//! sled writes blob files that nobody syncs. sled's file never shrinks, so the log moves into a new one now and then.

mod entries;
mod files;
mod moving;

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use sled::{Batch, Tree};

use self::entries::EntryScan;
use self::files::Files;
use self::moving::{Leaving, Moving};
use super::backend::{LogBackend, LogReads, Op, Recovered};
use super::sealed::{damaged, opened, sealed};
use crate::types::{LogId, Vote};

const KEY_VOTE: &[u8] = b"v";
const KEY_COMMITTED: &[u8] = b"c";
const KEY_PURGED: &[u8] = b"p";
/// Keys of purged entries removed per turn: a purge of 10,000 entries blocked the writer for 82 to 138 ms.
const PURGE_SLICE: usize = 512;

/// How far a store may grow before the log moves on: `factor` times what it held when it was begun, and `floor` bytes.
/// That room is written in advance (`Files::lay_runway`), and the log moves when a quarter of it is left.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    pub floor: u64,
    pub factor: u64,
}

impl Default for Space {
    fn default() -> Self {
        Space { floor: 16 << 20, factor: 2 }
    }
}

pub struct SledWriter {
    dir: PathBuf,
    /// Stands before the store, which is unlocked when it has ended.
    leaving: Leaving,
    files: Files,
    readers: Arc<ArcSwap<Tree>>,
    purged: Option<u64>,
    space: Space,
    /// Bytes of entries when the store was begun or opened.
    live: u64,
    /// Bytes of entries written since the last move was begun.
    appended: u64,
    moving: Option<Moving>,
    /// Bytes of entries written since the last turn of tidying.
    written: usize,
}

pub struct SledReader {
    tree: Arc<ArcSwap<Tree>>,
}

/// Whether the folder holds a log of this engine, or the beginning of one.
pub fn is_there(dir: &Path) -> bool {
    files::is_there(dir)
}

/// Opens or makes the store and checks what it holds.
pub fn open(dir: &Path, space: Space) -> io::Result<(SledWriter, SledReader, Recovered)> {
    let files = files::open_current(dir)?;
    let (recovered, live) = recover(&files.tree)?;
    let readers = Arc::new(ArcSwap::from_pointee(files.tree.clone()));
    let reader = SledReader { tree: Arc::clone(&readers) };
    let writer = SledWriter {
        dir: dir.to_owned(),
        files,
        readers,
        purged: recovered.purged.map(|id| id.index),
        space,
        live,
        appended: 0,
        moving: None,
        leaving: Leaving::default(),
        written: 0,
    };
    match writer.files.lay_runway(writer.runway()) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            tracing::warn!(event = "log_disk_nearly_full", %error, "no room to write the log's room in advance: commits may be slow");
        }
        laid => laid?,
    }
    Ok((writer, reader, recovered))
}

/// What the tree holds, and the bytes of its entries.
fn recover(tree: &Tree) -> io::Result<(Recovered, u64)> {
    let vote = read_key::<Vote>(tree, KEY_VOTE)?;
    let committed = read_key::<LogId>(tree, KEY_COMMITTED)?;
    let purged = read_key::<LogId>(tree, KEY_PURGED)?;
    let first = purged.map_or(0, |id| id.index + 1);
    let mut present: Option<(u64, u64)> = None;
    let mut bytes = 0;
    for found in EntryScan::new(tree, first..=u64::MAX) {
        let (index, entry) = found?;
        bytes += entry.len() as u64;
        match &mut present {
            Some((_, last)) if *last + 1 == index => *last = index,
            Some((_, last)) => return Err(damaged(format!("entries {} to {} are missing", *last + 1, index - 1))),
            None if purged.is_some() && index != first => {
                return Err(damaged(format!("entries {first} to {} are missing", index - 1)));
            }
            None => present = Some((index, index)),
        }
    }
    Ok((Recovered { vote, committed, purged, present }, bytes))
}

fn to_io(error: sled::Error) -> io::Error {
    match error {
        sled::Error::Io(error) => error,
        other => damaged(other.to_string()),
    }
}

fn read_key<T: serde::de::DeserializeOwned>(tree: &Tree, key: &[u8]) -> io::Result<Option<T>> {
    let Some(bytes) = tree.get(key).map_err(to_io)? else { return Ok(None) };
    let body = opened(&bytes).ok_or_else(|| damaged("a value's checksum is wrong".to_owned()))?;
    flotilla_model::codec::decode(body).map(Some).map_err(|error| damaged(error.to_string()))
}

fn value_of<T: serde::Serialize>(value: &T) -> Vec<u8> {
    sealed(&flotilla_model::codec::encode(value))
}

impl SledWriter {
    fn add(&mut self, batch: &mut Batch, op: &Op) -> io::Result<()> {
        match op {
            Op::Append(appended) => {
                let bytes = appended.iter().map(|(_, entry)| entry.len()).sum::<usize>();
                self.written += bytes;
                self.appended += bytes as u64;
                appended.iter().try_for_each(|(index, entry)| entries::put(batch, *index, entry))?;
            }
            Op::Vote(vote) => batch.insert(KEY_VOTE, value_of(vote)),
            Op::Committed(Some(id)) => batch.insert(KEY_COMMITTED, value_of(id)),
            Op::Committed(None) => batch.remove(KEY_COMMITTED),
            Op::TruncateAfter(index) => {
                let from = index.map_or(0, |index| index + 1);
                entries::remove(&self.files.tree, batch, from, u64::MAX, usize::MAX)?;
                if let Some(moving) = &mut self.moving {
                    moving.truncated(from);
                }
            }
            Op::Purged(id) => {
                batch.insert(KEY_PURGED, value_of(id));
                self.purged = Some(id.index);
            }
        }
        Ok(())
    }

    /// Removes a slice of what is purged. Whether there may be more.
    fn purge_slice(&mut self) -> io::Result<bool> {
        let Some(purged) = self.purged else { return Ok(false) };
        let mut batch = Batch::default();
        let removed = entries::remove(&self.files.tree, &mut batch, 0, purged, PURGE_SLICE)?;
        self.files.tree.apply_batch(batch).map_err(to_io)?;
        Ok(removed == PURGE_SLICE)
    }

    /// Bytes that are laid out in advance.
    fn runway(&self) -> u64 {
        self.live * self.space.factor + self.space.floor
    }

    /// Begins a move if most of the runway is used up (or sled has cut it off) and enough was written since the last time.
    fn move_if_large(&mut self) -> io::Result<bool> {
        let (used, left) = self.files.extent()?;
        metrics::gauge!("flotilla_raft_log_bytes").set((used + left) as f64);
        if left >= self.runway() / 4 || self.appended < self.space.floor / 4 {
            return Ok(false);
        }
        if self.leaving.is_under_way() {
            return Ok(true);
        }
        self.appended = 0;
        tracing::info!(event = "log_move_begins", used, left, "the log moves into a new store file");
        match Moving::begin(&self.dir, self.files.number() + 1, self.runway()) {
            Ok(moving) => self.moving = Some(moving),
            Err(error) => self.give_up_moving(&error),
        }
        Ok(self.moving.is_some())
    }

    /// Tried again when as much has been written once more.
    fn give_up_moving(&mut self, error: &io::Error) {
        tracing::warn!(event = "log_move_failed", %error, "the log stays in its file, which is larger than it needs to be");
        self.moving = None;
        if let Err(error) = files::remove_others(&self.dir, self.files.number()) {
            tracing::warn!(%error, "a store file that nobody needs could not be removed");
        }
    }

    /// Copies a slice; whether there is more to do. A failure costs the new store, never the old one.
    fn move_slice(&mut self, mut moving: Moving) -> io::Result<bool> {
        let from = self.purged.map_or(0, |purged| purged + 1);
        match moving.slice(&self.files.tree, from, std::mem::take(&mut self.written)) {
            Ok(false) => self.moving = Some(moving),
            Ok(true) => match moving.finish(&self.files.tree) {
                Ok((files, live)) => self.moved(files, live),
                Err(error) => self.give_up_moving(&error),
            },
            Err(error) => self.give_up_moving(&error),
        }
        Ok(true)
    }

    fn moved(&mut self, files: Files, live: u64) {
        self.readers.store(Arc::new(files.tree.clone()));
        let left = std::mem::replace(&mut self.files, files);
        self.live = live;
        tracing::info!(event = "log_moved", live);
        metrics::counter!("flotilla_raft_log_moves_total").increment(1);
        match Leaving::begin(&self.dir, left, self.files.number()) {
            Ok(leaving) => self.leaving = leaving,
            Err(error) => tracing::warn!(%error, "the log's former store file is removed with the next one"),
        }
    }
}

impl LogBackend for SledWriter {
    /// A truncation and what follows it go into batches of their own, since it looks at what is stored.
    fn write(&mut self, ops: &[Op]) -> io::Result<()> {
        let mut batch = Batch::default();
        for op in ops {
            if matches!(op, Op::TruncateAfter(_)) {
                self.files.tree.apply_batch(std::mem::take(&mut batch)).map_err(to_io)?;
            }
            self.add(&mut batch, op)?;
            if matches!(op, Op::TruncateAfter(_)) {
                self.files.tree.apply_batch(std::mem::take(&mut batch)).map_err(to_io)?;
            }
        }
        self.files.tree.apply_batch(batch).map_err(to_io)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.files.sync()
    }

    fn tidy(&mut self) -> io::Result<bool> {
        if self.purge_slice()? {
            return Ok(true);
        }
        match self.moving.take() {
            Some(moving) => self.move_slice(moving),
            None => self.move_if_large(),
        }
    }
}

impl LogReads for SledReader {
    fn entries(&self, range: RangeInclusive<u64>, max_bytes: usize) -> io::Result<Vec<(u64, Bytes)>> {
        let (mut taken, mut bytes, mut next) = (Vec::new(), 0, None);
        for found in EntryScan::new(&self.tree.load_full(), range) {
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
