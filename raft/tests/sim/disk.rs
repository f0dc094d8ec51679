//! A node's disk in memory, under the product's own log store: groups that are written but not synced are lost in a power cut,
//! in part or whole; a sync may be slow or fail.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use flotilla_raft::testing::simulation::{Done, LogBackend, LogReads, Op, Recovered, Writer};
use flotilla_raft::testing::{LogId, LogStore, Vote};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::rng::Rng;

/// As many operations are one group at most, as in the product's writer.
const GROUP: usize = 512;

/// What a disk holds.
#[derive(Clone, Default)]
struct Image {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, Bytes>,
}

impl Image {
    fn apply(&mut self, ops: &[Op]) {
        for op in ops {
            match op {
                Op::Append(entries) => self.entries.extend(entries.iter().cloned()),
                Op::Vote(vote) => self.vote = Some(*vote),
                Op::Committed(committed) => self.committed = *committed,
                Op::TruncateAfter(None) => self.entries.clear(),
                Op::TruncateAfter(Some(index)) => drop(self.entries.split_off(&(index + 1))),
                Op::Purged(id) => {
                    self.purged = self.purged.max(Some(*id));
                    self.entries = self.entries.split_off(&(id.index + 1));
                }
            }
        }
    }
}

struct Inner {
    /// What outlives a power cut.
    durable: Image,
    /// What the process reads: everything written.
    current: Image,
    /// Written and not synced, in order.
    unsynced: Vec<Vec<Op>>,
    rng: Rng,
    /// Longest time of a write and a sync, in ms.
    slow_ms: u64,
    /// The next sync fails.
    fail: bool,
    pub lost_groups: u64,
}

/// The disk outlives the process that uses it.
pub struct Disk {
    inner: Mutex<Inner>,
}

impl Disk {
    pub fn new(rng: Rng) -> Arc<Self> {
        let inner = Inner {
            durable: Image::default(),
            current: Image::default(),
            unsynced: Vec::new(),
            rng,
            slow_ms: 0,
            fail: false,
            lost_groups: 0,
        };
        Arc::new(Disk { inner: Mutex::new(inner) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while the disk is locked")
    }

    pub fn set_slow(&self, ms: u64) {
        self.inner().slow_ms = ms;
    }

    pub fn fail_next_sync(&self) {
        self.inner().fail = true;
    }

    /// How many groups power cuts have taken.
    pub fn lost_groups(&self) -> u64 {
        self.inner().lost_groups
    }

    /// The power goes: of what was not synced, some prefix is on the disk.
    pub fn power_cut(&self) {
        let inner = &mut *self.inner();
        let kept = if inner.rng.permille(500) { 0 } else { inner.rng.below(inner.unsynced.len() as u64 + 1) };
        for ops in inner.unsynced.iter().take(kept as usize) {
            inner.durable.apply(ops);
        }
        inner.lost_groups += inner.unsynced.len() as u64 - kept;
        inner.unsynced.clear();
        inner.current = inner.durable.clone();
        inner.fail = false;
    }

    /// The process is killed: what it wrote is in the kernel's cache and stays.
    pub fn process_ended(&self) {
        self.inner().fail = false;
    }

    /// Opens the store as a starting process does. On the runtime of its node.
    pub fn open(self: &Arc<Self>) -> io::Result<LogStore> {
        let recovered = {
            let inner = self.inner();
            let image = &inner.current;
            let ends = image.entries.first_key_value().zip(image.entries.last_key_value());
            let present = ends.map(|((first, _), (last, _))| (*first, *last));
            if let Some((first, last)) = present
                && last - first + 1 != image.entries.len() as u64
            {
                return Err(io::Error::other(format!("the log has a gap between {first} and {last}")));
            }
            Recovered { vote: image.vote, committed: image.committed, purged: image.purged, present }
        };
        let queue = Arc::new(Queue::default());
        tokio::spawn(write_all(Arc::clone(self), Arc::clone(&queue)));
        LogStore::open(Box::new(QueueWriter(queue)), Box::new(Reads(Arc::clone(self))), recovered)
    }

    /// How long the next group takes until it is written, and until it is synced.
    fn takes(&self) -> (Duration, Duration) {
        let inner = &mut *self.inner();
        let most = inner.slow_ms;
        let mut one = || if most == 0 { inner.rng.below(3) / 2 } else { inner.rng.between(most / 4, most) };
        (Duration::from_millis(one() / 2), Duration::from_millis(one()))
    }
}

struct Reads(Arc<Disk>);

impl LogReads for Reads {
    fn entries(&self, range: RangeInclusive<u64>, max_bytes: usize) -> io::Result<Vec<(u64, Bytes)>> {
        let inner = self.0.inner();
        let (mut found, mut bytes): (Vec<(u64, Bytes)>, usize) = (Vec::new(), 0);
        for (index, entry) in inner.current.entries.range(range) {
            let gap = found.last().is_some_and(|(last, _)| last + 1 != *index);
            if gap {
                return Err(io::Error::other(format!("the log has a gap before {index}")));
            }
            if bytes > 0 && bytes + entry.len() > max_bytes {
                break;
            }
            bytes += entry.len();
            found.push((*index, entry.clone()));
        }
        Ok(found)
    }
}

struct Backend(Arc<Disk>);

impl LogBackend for Backend {
    fn write(&mut self, ops: &[Op]) -> io::Result<()> {
        let inner = &mut *self.0.inner();
        inner.current.apply(ops);
        inner.unsynced.push(ops.to_vec());
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let inner = &mut *self.0.inner();
        if inner.fail {
            return Err(io::Error::other("the disk says no (simulated)"));
        }
        for ops in std::mem::take(&mut inner.unsynced) {
            inner.durable.apply(&ops);
        }
        Ok(())
    }

    fn tidy(&mut self) -> io::Result<bool> {
        Ok(false)
    }
}

#[derive(Default)]
struct Queue {
    requests: Mutex<VecDeque<(Op, Done)>>,
    bell: Notify,
}

struct QueueWriter(Arc<Queue>);

impl Writer for QueueWriter {
    fn push(&self, op: Op, done: Done) -> io::Result<()> {
        self.0.requests.lock().expect("no panic while the queue is locked").push_back((op, done));
        self.0.bell.notify_one();
        Ok(())
    }
}

/// The product's writer without its thread: what is queued becomes one group, one write, one sync, then the answers in order.
async fn write_all(disk: Arc<Disk>, queue: Arc<Queue>) {
    let mut backend = Backend(Arc::clone(&disk));
    loop {
        let group: Vec<(Op, Done)> = {
            let mut requests = queue.requests.lock().expect("no panic while the queue is locked");
            let count = requests.len().min(GROUP);
            requests.drain(..count).collect()
        };
        if group.is_empty() {
            queue.bell.notified().await;
            continue;
        }
        let (ops, dones): (Vec<Op>, Vec<Done>) = group.into_iter().unzip();
        let result = write_group(&disk, &mut backend, &ops).await;
        for done in dones {
            done(result.as_ref().map(|_| ()).map_err(|error| io::Error::new(error.kind(), error.to_string())));
        }
        if result.is_err() {
            // As the product's writer: nothing is written any more.
            loop {
                let refused: Vec<_> = queue.requests.lock().expect("not poisoned").drain(..).collect();
                for (_, done) in refused {
                    done(Err(io::Error::other("the disk has failed (simulated)")));
                }
                queue.bell.notified().await;
            }
        }
    }
}

async fn write_group(disk: &Disk, backend: &mut Backend, ops: &[Op]) -> io::Result<()> {
    let (write, sync) = disk.takes();
    if !write.is_zero() {
        sleep(write).await;
    }
    backend.write(ops)?;
    if !ops.iter().any(Op::needs_sync) {
        return Ok(());
    }
    if !sync.is_zero() {
        sleep(sync).await;
    }
    backend.sync()
}
