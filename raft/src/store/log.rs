//! openraft's log storage over a back end: votes and entries are durable before they are acknowledged.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use openraft::alias::LogIdOf;
use openraft::raft::AppendEntriesRequest;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use tokio::sync::oneshot;

use super::backend::{LogReads, Op, Recovered};
use super::io_thread::{IoThread, Writer};
use super::redb_backend;
use super::sealed::opening;
use super::sled_backend::{self, Space};
use super::tail::Tail;
use crate::blocking;
use crate::config::StoreChoice;
use crate::types::{LogId, RaftEntry, TypeConfig, Vote};

/// Bytes of entries handed out at once.
const READ_BYTES: usize = 2 << 20;
/// Everything the range names, for `try_get_log_entries`.
const NO_LIMIT: usize = usize::MAX;

struct Known {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    last: Option<LogId>,
    tail: Tail,
}

struct Inner {
    io: Box<dyn Writer>,
    reads: Box<dyn LogReads>,
    known: Mutex<Known>,
}

impl Known {
    fn is_purged(&self, index: u64) -> bool {
        self.purged.is_some_and(|purged| index <= purged.index)
    }
}

/// Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct LogStore {
    inner: Arc<Inner>,
}

impl LogStore {
    /// Opens the store with the engine that is chosen; another one's is refused.
    pub fn open_chosen(choice: StoreChoice, dir: &Path, guard: impl Send + 'static) -> io::Result<Self> {
        match choice {
            StoreChoice::Sled => Self::open_sled(dir, guard),
            StoreChoice::Redb => Self::open_redb(dir, guard),
        }
    }

    /// Opens the store on redb; `guard` (the folder's lock) is kept until its writer has closed it.
    pub fn open_redb(dir: &Path, guard: impl Send + 'static) -> io::Result<Self> {
        if sled_backend::is_there(dir) {
            return Err(other_engine(dir, "sled", "redb"));
        }
        let (writer, reader, recovered) = opening(dir, || redb_backend::open(dir))?;
        let io = IoThread::spawn(writer, guard)?;
        Self::open(Box::new(io), Box::new(reader), recovered)
    }

    /// Opens the store; `guard` (the folder's lock) is kept until its writer has closed it.
    pub fn open_sled(dir: &Path, guard: impl Send + 'static) -> io::Result<Self> {
        Self::open_sled_within(dir, guard, Space::default())
    }

    /// The same with another bound on the disk that it takes.
    pub fn open_sled_within(dir: &Path, guard: impl Send + 'static, space: Space) -> io::Result<Self> {
        if dir.join(redb_backend::FILE).exists() {
            return Err(other_engine(dir, "redb", "sled"));
        }
        let (writer, reader, recovered) = opening(dir, || sled_backend::open(dir, space))?;
        let io = IoThread::spawn(writer, guard)?;
        Self::open(Box::new(io), Box::new(reader), recovered)
    }

    /// A store over anything that writes and reads.
    pub fn open(io: Box<dyn Writer>, reads: Box<dyn LogReads>, recovered: Recovered) -> io::Result<Self> {
        let last = match recovered.present {
            Some((_, last)) => Some(read_one(&*reads, last)?.log_id),
            None => recovered.purged,
        };
        let known = Known {
            vote: recovered.vote,
            committed: recovered.committed,
            purged: recovered.purged,
            last,
            tail: Tail::default(),
        };
        Ok(LogStore { inner: Arc::new(Inner { io, reads, known: Mutex::new(known) }) })
    }

    /// A snapshot reaches further than the log: a kill came between its installation and the purge behind it. What this node
    /// shows its peers must not fall back behind what it acknowledged on the snapshot.
    pub async fn covered_by(&mut self, snapshot: LogId) -> io::Result<()> {
        let behind = self.known().last.is_none_or(|last| last.index < snapshot.index);
        if behind { RaftLogStorage::purge(self, snapshot).await } else { Ok(()) }
    }

    /// A view for hellos that does not keep the store open.
    pub fn shown(&self) -> Shown {
        Shown(Arc::downgrade(&self.inner))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.inner.known.lock().expect("no panic while the log's bookkeeping is locked")
    }

    /// Writes and waits until it is on the disk.
    async fn write(&self, op: Op) -> io::Result<()> {
        let (answer, written) = oneshot::channel();
        let done = Box::new(move |result| {
            let _ = answer.send(result);
        });
        self.inner.io.push(op, done)?;
        written.await.map_err(|_| io::Error::other("the log's writer has ended"))?
    }

    /// Entries from `from` below `to`, as far as there are and about `max_bytes`. Those that only the disk has are read on
    /// a thread that may wait.
    async fn read(&self, from: u64, to: u64, max_bytes: usize) -> io::Result<Vec<RaftEntry>> {
        if let Some(entries) = self.read_tail(from, to, max_bytes) {
            return Ok(entries);
        }
        let store = self.clone();
        blocking::run(move || store.read_stored(from, to, max_bytes)).await
    }

    /// `None` if the newest entries do not begin where the range does.
    fn read_tail(&self, from: u64, to: u64, max_bytes: usize) -> Option<Vec<RaftEntry>> {
        let known = self.known();
        let Some(last) = known.last else { return Some(Vec::new()) };
        let first = known.purged.map_or(0, |id| id.index + 1);
        let (from, to) = (from.max(first), to.min(last.index + 1));
        if from >= to {
            return Some(Vec::new());
        }
        known.tail.first().is_some_and(|tail| tail <= from).then(|| known.tail.range(from, to, max_bytes))
    }

    fn read_stored(&self, from: u64, to: u64, max_bytes: usize) -> io::Result<Vec<RaftEntry>> {
        let (tail_first, from, to) = {
            let known = self.known();
            let Some(last) = known.last else { return Ok(Vec::new()) };
            let first = known.purged.map_or(0, |id| id.index + 1);
            let (from, to) = (from.max(first), to.min(last.index + 1));
            if from >= to {
                return Ok(Vec::new());
            }
            if known.tail.first().is_some_and(|tail| tail <= from) {
                return Ok(known.tail.range(from, to, max_bytes));
            }
            (known.tail.first(), from, to)
        };
        let disk_end = tail_first.map_or(to, |tail| tail.min(to));
        let stored = self.inner.reads.entries(from..=disk_end - 1, max_bytes)?;
        let mut entries = stored.iter().map(|(_, bytes)| decode(bytes)).collect::<io::Result<Vec<_>>>()?;
        let bytes: usize = stored.iter().map(|(_, bytes)| bytes.len()).sum();
        // The log need not begin where the range does.
        let next = entries.last().map_or(disk_end, |entry| entry.log_id.index + 1);
        if next == disk_end && disk_end < to && bytes < max_bytes {
            entries.extend(self.known().tail.range(next, to, max_bytes - bytes));
        }
        Ok(entries)
    }
}

/// What this node can show its peers.
#[derive(Clone)]
pub struct Shown(Weak<Inner>);

impl Shown {
    /// Whether a request brings nothing because what its follower lacks is purged: it needs a snapshot.
    pub fn lacks_entries_for(&self, request: &AppendEntriesRequest<TypeConfig>) -> bool {
        let Some(inner) = self.0.upgrade() else { return false };
        let next = request.prev_log_id.map_or(0, |id| id.index + 1);
        let purged = || inner.known.lock().expect("no panic while the log's bookkeeping is locked").is_purged(next);
        request.entries.is_empty() && purged()
    }

    /// The term of the vote and the index of the last entry; `None` when the store is closed.
    pub fn now(&self) -> Option<(u64, u64)> {
        let inner = self.0.upgrade()?;
        let known = inner.known.lock().expect("no panic while the log's bookkeeping is locked");
        Some((known.vote.as_ref().map_or(0, |vote| vote.leader_id.term), known.last.map_or(0, |id| id.index)))
    }
}

fn other_engine(dir: &Path, found: &str, asked: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "the log in {} was begun with {found}, but `[raft] store` says {asked}: set it to {found}, or remove this node from the \
             cluster, empty its data folder and join anew",
            dir.display()
        ),
    )
}

fn read_one(reads: &dyn LogReads, index: u64) -> io::Result<RaftEntry> {
    let found = reads.entries(index..=index, NO_LIMIT)?;
    let (_, bytes) = found.first().ok_or_else(|| io::Error::other("the last entry vanished while opening"))?;
    decode(bytes)
}

fn decode(bytes: &[u8]) -> io::Result<RaftEntry> {
    flotilla_model::codec::decode(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// A range as first and one past the last.
fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before + 1,
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + openraft::OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<RaftEntry>> {
        let (from, to) = bounds(&range);
        self.read(from, to, NO_LIMIT).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.known().vote)
    }

    /// None where the range begins before the log does. After a failed append the engine may take up the command again with which it
    /// once began to replicate; what is left of such a range does not follow what the request names, and would make a hole in a follower's log.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<RaftEntry>> {
        let mut found = self.read(start, end, READ_BYTES).await?;
        // Judged by what was read: a purge may come while it is.
        let follows = found.iter().zip(start..).take_while(|(entry, index)| entry.log_id.index == *index).count();
        found.truncate(follows);
        Ok(found)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let known = self.known();
        Ok(LogState { last_purged_log_id: known.purged, last_log_id: known.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        #[cfg(feature = "planted-bugs")]
        if flotilla_model::planted::is("vote-not-written") {
            self.known().vote = Some(*vote);
            return Ok(());
        }
        self.write(Op::Vote(*vote)).await?;
        self.known().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<TypeConfig>>) -> io::Result<()> {
        self.known().committed = committed;
        self.inner.io.push(Op::Committed(committed), Box::new(|_| {}))
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.known().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + openraft::OptionalSend,
        I::IntoIter: openraft::OptionalSend,
    {
        let encoded = {
            let mut known = self.known();
            let mut last = known.last;
            let encoded = known.tail.append(entries.into_iter().inspect(|entry| last = Some(entry.log_id)));
            known.last = last;
            encoded
        };
        let Some((last, _)) = encoded.last().cloned() else {
            callback.io_completed(Ok(()));
            return Ok(());
        };
        let inner = Arc::downgrade(&self.inner);
        let done = Box::new(move |result: io::Result<()>| {
            if let (Ok(()), Some(inner)) = (&result, inner.upgrade()) {
                inner.known.lock().expect("no panic while the log's bookkeeping is locked").tail.written(last);
            }
            callback.io_completed(result);
        });
        self.inner.io.push(Op::Append(encoded), done)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let index = last_log_id.map(|id| id.index);
        {
            let mut known = self.known();
            known.tail.truncate_after(index);
            if known.last.is_some_and(|last| index.is_none_or(|index| last.index > index)) {
                known.last = last_log_id.max(known.purged);
            }
        }
        self.write(Op::TruncateAfter(index)).await?;
        // An append that was still being written when this was called may have noted more as written.
        self.known().tail.truncate_after(index);
        Ok(())
    }

    /// Nobody relies on a purge being on the disk, and the engine does nothing else while this is awaited: it is queued.
    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        {
            let mut known = self.known();
            known.purged = known.purged.max(Some(log_id));
            known.last = known.last.max(known.purged);
            known.tail.purge(log_id.index);
        }
        crate::metric::purged(log_id.index);
        self.inner.io.push(Op::Purged(log_id), Box::new(|_| {}))
    }
}
