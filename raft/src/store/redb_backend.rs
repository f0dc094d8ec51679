//! The log on redb: one file `log.redb`, one table of entries, one of the rest.
//!
//! What is written stays in one open transaction until `sync` commits it: one `fdatasync` per group, and all of it or nothing after
//! a crash. The file is made under another name and gets its own once it is whole; redb syncs the file, never the folder. Freed pages
//! are used again and the file is cut when it can be: nothing has to be moved. After a kill redb walks the file as it opens.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::backend::{LogBackend, LogReads, Op, Recovered};
use super::sealed::{damaged, is_told, opened, sealed};
use crate::folder::sync_dir;
use crate::metric;

/// Entries by index, each sealed with a checksum of our own.
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const REST: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("rest");
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";

pub const FILE: &str = "log.redb";
const MAKING: &str = "log.redb.new";
/// Pages kept in memory: the newest entries are in the tail already.
const CACHE: usize = 64 << 20;
/// Purged entries removed per turn.
const PURGE_SLICE: usize = 2_048;

pub struct RedbWriter {
    db: Arc<Database>,
    /// What was written since the last sync.
    open: Option<WriteTransaction>,
    purged: Option<u64>,
}

pub struct RedbReader {
    db: Arc<Database>,
}

/// Opens or makes the store and checks what it holds.
pub fn open(dir: &Path) -> io::Result<(RedbWriter, RedbReader, Recovered)> {
    let fresh = !dir.exists();
    fs::create_dir_all(dir)?;
    if fresh {
        sync_dir(dir.parent().unwrap_or(Path::new("/")))?;
    }
    let (path, making) = (dir.join(FILE), dir.join(MAKING));
    if !path.exists() {
        make(&making)?;
        fs::rename(&making, &path)?;
        sync_dir(dir)?;
    }
    if making.exists() {
        fs::remove_file(&making)?;
    }
    let db = Arc::new(builder().open(&path).map_err(|error| to_io(error.into()))?);
    let recovered = recover(&db).map_err(to_io)?;
    let writer = RedbWriter { db: Arc::clone(&db), open: None, purged: recovered.purged.map(|id| id.index) };
    Ok((writer, RedbReader { db }, recovered))
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

/// Makes an empty store; one that a crash left half made goes.
fn make(path: &Path) -> io::Result<()> {
    if path.exists() {
        fs::remove_file(path)?;
    }
    let make = || -> Result<(), redb::Error> {
        let db = builder().create(path)?;
        let write = db.begin_write()?;
        write.open_table(ENTRIES)?;
        write.open_table(REST)?;
        write.commit()?;
        Ok(())
    };
    make().map_err(to_io)?;
    fs::File::open(path)?.sync_all()
}

fn recover(db: &Database) -> Result<Recovered, redb::Error> {
    let read = db.begin_read()?;
    let rest = read.open_table(REST)?;
    let mut recovered = Recovered {
        vote: value(&rest, VOTE)?,
        committed: value(&rest, COMMITTED)?,
        purged: value(&rest, PURGED)?,
        present: None,
    };
    let first = recovered.purged.map_or(0, |id| id.index + 1);
    let mut next = recovered.purged.map(|_| first);
    for found in read.open_table(ENTRIES)?.range(first..)? {
        let (index, bytes) = found?;
        let index = index.value();
        if let Some(next) = next.filter(|next| *next != index) {
            return Err(damaged(format!("entries {next} to {} are missing", index - 1)).into());
        }
        check(index, bytes.value())?;
        next = Some(index + 1);
        recovered.present = Some((recovered.present.map_or(index, |(first, _)| first), index));
    }
    Ok(recovered)
}

/// The entry's own bytes.
fn check(index: u64, bytes: &[u8]) -> io::Result<&[u8]> {
    opened(bytes).ok_or_else(|| damaged(format!("entry {index} does not match its checksum")))
}

fn value<T: serde::de::DeserializeOwned>(
    rest: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &'static str,
) -> Result<Option<T>, redb::Error> {
    let Some(bytes) = rest.get(key)? else { return Ok(None) };
    let body = opened(bytes.value()).ok_or_else(|| damaged("a value's checksum is wrong".to_owned()))?;
    Ok(Some(flotilla_model::codec::decode(body).map_err(|error| damaged(error.to_string()))?))
}

fn to_io(error: redb::Error) -> io::Error {
    match error {
        redb::Error::Io(error) if error.kind() != io::ErrorKind::InvalidData || is_told(&error) => error,
        redb::Error::Io(_) | redb::Error::Corrupted(_) => damaged(error.to_string()),
        other => io::Error::other(other),
    }
}

impl RedbWriter {
    fn begin(&mut self) -> Result<&WriteTransaction, redb::Error> {
        if self.open.is_none() {
            self.open = Some(self.db.begin_write()?);
        }
        Ok(self.open.as_ref().expect("it was just begun"))
    }

    fn add(&mut self, ops: &[Op]) -> Result<(), redb::Error> {
        let write = self.begin()?;
        let (mut entries, mut rest) = (write.open_table(ENTRIES)?, write.open_table(REST)?);
        let mut purged = None;
        for op in ops {
            match op {
                Op::Append(appended) => {
                    for (index, entry) in appended {
                        entries.insert(index, sealed(entry).as_slice())?;
                    }
                }
                Op::Vote(vote) => put(&mut rest, VOTE, vote)?,
                Op::Committed(Some(id)) => put(&mut rest, COMMITTED, id)?,
                Op::Committed(None) => drop(rest.remove(COMMITTED)?),
                Op::TruncateAfter(index) => entries.retain_in(index.map_or(0, |index| index + 1).., |_, _| false)?,
                Op::Purged(id) => {
                    put(&mut rest, PURGED, id)?;
                    purged = Some(id.index);
                }
            }
        }
        drop((entries, rest));
        self.purged = self.purged.max(purged);
        Ok(())
    }

    /// Removes a slice of what is purged. Whether there may be more.
    fn purge_slice(&mut self) -> Result<bool, redb::Error> {
        let Some(purged) = self.purged else { return Ok(false) };
        let write = self.begin()?;
        let mut entries = write.open_table(ENTRIES)?;
        let slice: Vec<u64> = {
            let found = entries.range(..=purged)?.take(PURGE_SLICE);
            found.map(|found| found.map(|(index, _)| index.value())).collect::<Result<_, _>>()?
        };
        for index in &slice {
            entries.remove(index)?;
        }
        Ok(slice.len() == PURGE_SLICE)
    }
}

fn put<T: serde::Serialize>(
    rest: &mut Table<'_, &'static str, &'static [u8]>,
    key: &'static str,
    value: &T,
) -> Result<(), redb::Error> {
    rest.insert(key, sealed(&flotilla_model::codec::encode(value)).as_slice())?;
    Ok(())
}

impl LogBackend for RedbWriter {
    fn write(&mut self, ops: &[Op]) -> io::Result<()> {
        self.add(ops).map_err(to_io)
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Some(write) = self.open.take() {
            write.commit().map_err(|error| to_io(error.into()))?;
            metric::fsync();
        }
        Ok(())
    }

    /// Removes what is purged; it is on the disk with the next group.
    fn tidy(&mut self) -> io::Result<bool> {
        self.purge_slice().map_err(to_io)
    }
}

impl LogReads for RedbReader {
    fn entries(&self, range: RangeInclusive<u64>, max_bytes: usize) -> io::Result<Vec<(u64, Bytes)>> {
        let read = || -> Result<_, redb::Error> {
            let (mut taken, mut bytes, mut next) = (Vec::new(), 0, None);
            for found in self.db.begin_read()?.open_table(ENTRIES)?.range(range)? {
                let (index, sealed) = found?;
                let index = index.value();
                let entry = check(index, sealed.value())?;
                if next.is_some_and(|next| index != next) || (bytes > 0 && bytes + entry.len() > max_bytes) {
                    break;
                }
                bytes += entry.len();
                next = Some(index + 1);
                taken.push((index, Bytes::copy_from_slice(entry)));
            }
            Ok(taken)
        };
        read().map_err(to_io)
    }
}
