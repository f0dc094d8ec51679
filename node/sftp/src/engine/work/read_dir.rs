//! READDIR: NAME replies of bounded size out of a directory of any size.

use std::{
    collections::VecDeque,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use flotilla_session::{DirEntry, Failure, FileKind, FileStat, Files, OpenDir};

use crate::codec::reply::{self, Names};

const ENTRIES: usize = 100;
/// No NAME reply is larger.
pub(in crate::engine) const REPLY_BYTES: usize = 200 << 10;

pub(in crate::engine) struct Listing {
    source: Box<dyn OpenDir>,
    /// Read from the source and not told yet: at most one batch.
    ready: VecDeque<DirEntry>,
    ended: bool,
    /// Came after entries that were told first.
    failure: Option<Failure>,
}

impl Listing {
    /// `.` and `..` come first.
    pub async fn new(files: &dyn Files, path: &[u8], source: Box<dyn OpenDir>) -> Self {
        let mut ready = VecDeque::with_capacity(2);
        for name in [".", ".."] {
            let full = [path, b"/", name.as_bytes()].concat();
            let stat = files.stat(&full).await.unwrap_or_else(|_| unknown_directory());
            ready.push_back(DirEntry { name: name.into(), stat });
        }
        Self { source, ready, ended: false, failure: None }
    }

    pub async fn next_reply(&mut self, id: u32) -> Result<Bytes, Failure> {
        let mut names = Names::new(id, now_s());
        while (names.count() as usize) < ENTRIES && self.refill(ENTRIES - names.count() as usize).await {
            if !self.move_to(&mut names) {
                break;
            }
        }
        match self.failure.take_if(|_| names.count() == 0) {
            Some(failure) => Err(failure),
            None if names.count() == 0 => Ok(reply::end_of_file(id)),
            None => Ok(names.finish()),
        }
    }

    /// Whether there is an entry to tell.
    async fn refill(&mut self, wanted: usize) -> bool {
        if self.ready.is_empty() && !self.ended && self.failure.is_none() {
            match self.source.next(wanted).await {
                Ok(batch) => self.ready = batch.into(),
                Err(failure) => self.failure = Some(failure),
            }
            self.ended = self.ready.is_empty() && self.failure.is_none();
        }
        !self.ready.is_empty()
    }

    /// Moves entries as long as there is room for them; `false` when the next one has to wait.
    fn move_to(&mut self, names: &mut Names) -> bool {
        while let Some(entry) = self.ready.front() {
            let is_full =
                names.count() as usize >= ENTRIES || names.size() + Names::entry_size(&entry.name) > REPLY_BYTES;
            if is_full && names.count() > 0 {
                return false;
            }
            // An entry too long for any reply cannot be told; no storage has such names.
            if !is_full {
                names.push(&entry.name, &entry.stat);
            }
            self.ready.pop_front();
        }
        true
    }
}

fn now_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// For a directory that may be listed but not be asked about.
fn unknown_directory() -> FileStat {
    FileStat {
        kind: FileKind::Directory,
        size: 0,
        mode: 0o040_755,
        uid: 0,
        gid: 0,
        atime: (0, 0),
        mtime: (0, 0),
        links: 1,
        inode: Default::default(),
    }
}
