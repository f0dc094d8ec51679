//! What an engine must do to keep the log. One writer (the IO thread), many readers.

use std::io;
use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::types::{LogId, Vote};

/// One change of the store. A slice of them is written as one atomic group.
#[derive(Clone, Debug)]
pub enum Op {
    /// Encoded entries at consecutive indexes.
    Append(Vec<(u64, Bytes)>),
    Vote(Vote),
    /// Best effort: written with the next group, never synced for its own sake.
    Committed(Option<LogId>),
    /// Removes all entries above the index.
    TruncateAfter(Option<u64>),
    /// Remembers the purge; the entries go in slices by `tidy`.
    Purged(LogId),
}

impl Op {
    /// Whether somebody relies on it being on the disk.
    pub fn needs_sync(&self) -> bool {
        #[cfg(feature = "planted-bugs")]
        if flotilla_model::planted::is("no-sync") {
            return false;
        }
        !matches!(self, Op::Committed(_) | Op::Purged(_))
    }
}

/// What the store held when it was opened.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
    /// First and last index present, contiguous and with right checksums.
    pub present: Option<(u64, u64)>,
}

/// The writing side; lives on the IO thread.
pub trait LogBackend: Send + 'static {
    /// Writes a group atomically: after a crash all of it or nothing.
    fn write(&mut self, ops: &[Op]) -> io::Result<()>;
    /// Returns when everything written is on the disk, also after a power cut.
    fn sync(&mut self) -> io::Result<()>;
    /// A short turn of what can wait: removing purged entries, giving room back. Whether there is more to do.
    fn tidy(&mut self) -> io::Result<bool>;
}

/// The reading side.
pub trait LogReads: Send + Sync + 'static {
    /// Encoded entries of the range, checked, without a gap, from the first that is there, up to about `max_bytes`.
    fn entries(&self, range: RangeInclusive<u64>, max_bytes: usize) -> io::Result<Vec<(u64, Bytes)>>;
}
