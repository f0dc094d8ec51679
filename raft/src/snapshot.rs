//! Snapshots: files in a folder, at most one current. Written aside, synced, renamed; streamed, never held as bytes.

mod file;
mod state_bytes;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use flotilla_model::State;
use openraft::storage::RaftSnapshotBuilder;

use crate::blocking;
use crate::folder::sync_dir;
use crate::types::{Snapshot, SnapshotMeta, TypeConfig};

const SUFFIX: &str = ".fls";

/// A snapshot file. Its content is checked when it is read.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    pub path: PathBuf,
    /// Of one that comes from a peer: removed when nobody holds it any more, whether or not it came whole.
    _received: Option<Arc<Received>>,
}

#[derive(Debug)]
struct Received(PathBuf);

impl Drop for Received {
    fn drop(&mut self) {
        // One that was installed has another name by now.
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.0.display(), %error, "a received snapshot stays in the folder until the next start");
            }
            _ => {}
        }
    }
}

impl SnapshotFile {
    fn kept(path: PathBuf) -> Self {
        SnapshotFile { path, _received: None }
    }

    /// Whether it is whole and the one that this meta names. The engine of a node ends over one that is not.
    pub async fn check(&self, meta: &SnapshotMeta) -> io::Result<()> {
        let (path, meta) = (self.path.clone(), meta.clone());
        blocking::run(move || file::check(&path, &meta)).await
    }

    /// Where a snapshot is written while it is received.
    pub fn receiving(dir: &Path, number: u64) -> Self {
        let path = dir.join(format!("receiving-{number}"));
        SnapshotFile { path: path.clone(), _received: Some(Arc::new(Received(path))) }
    }
}

type Current = Arc<Mutex<Option<(SnapshotMeta, PathBuf)>>>;

pub struct Snapshots {
    dir: PathBuf,
    current: Current,
}

pub struct SnapshotBuilder {
    dir: PathBuf,
    current: Current,
    meta: SnapshotMeta,
    state: State,
}

impl Snapshots {
    /// Finds the newest whole snapshot and removes what is left over of others.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut newest: Option<(u64, PathBuf)> = None;
        for found in fs::read_dir(dir)? {
            let path = found?.path();
            match index_of(&path) {
                Some(index) if newest.as_ref().is_none_or(|(best, _)| index > *best) => {
                    if let Some((_, old)) = newest.replace((index, path)) {
                        fs::remove_file(old)?;
                    }
                }
                _ => fs::remove_file(path)?,
            }
        }
        let current = match newest {
            Some((_, path)) => Some((file::read_meta(&path)?, path)),
            None => None,
        };
        Ok(Snapshots { dir: dir.to_owned(), current: Arc::new(Mutex::new(current)) })
    }

    pub fn builder(&self, meta: SnapshotMeta, state: State) -> SnapshotBuilder {
        SnapshotBuilder { dir: self.dir.clone(), current: Arc::clone(&self.current), meta, state }
    }

    /// Reads a received or current file whole, makes it the current one.
    pub async fn install(&self, snapshot: SnapshotFile) -> io::Result<(SnapshotMeta, State)> {
        let path = snapshot.path.clone();
        let (meta, state) = blocking::run(move || file::read(&path)).await?;
        keep(&self.dir, &self.current, &meta, &snapshot.path)?;
        Ok((meta, state))
    }

    pub fn current(&self) -> io::Result<Option<Snapshot>> {
        let current = lock(&self.current).clone();
        Ok(current.map(|(meta, path)| Snapshot { meta, snapshot: SnapshotFile::kept(path) }))
    }
}

/// Writes a snapshot into a folder that has none.
pub fn write_first(dir: &Path, meta: &SnapshotMeta, state: &State) -> io::Result<()> {
    let index = meta.last_log_id.map_or(0, |id| id.index);
    let temporary = dir.join(format!("building-{index}"));
    file::write(&temporary, meta, state)?;
    keep(dir, &Current::default(), meta, &temporary)
}

fn lock(current: &Current) -> std::sync::MutexGuard<'_, Option<(SnapshotMeta, PathBuf)>> {
    current.lock().expect("no panic while the current snapshot is locked")
}

fn index_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.parse().ok()
}

/// Gives a synced file its final name and removes the one it replaces, unless that is newer.
fn keep(dir: &Path, current: &Current, meta: &SnapshotMeta, from: &Path) -> io::Result<()> {
    let index = meta.last_log_id.map_or(0, |id| id.index);
    let path = dir.join(format!("{index:020}{SUFFIX}"));
    let mut slot = lock(current);
    if from != path {
        fs::rename(from, &path)?;
        sync_dir(dir)?;
    }
    let newer = slot.as_ref().is_some_and(|(old, _)| old.last_log_id > meta.last_log_id);
    if newer {
        return fs::remove_file(path);
    }
    if let Some((_, old)) = slot.replace((meta.clone(), path.clone())).filter(|(_, old)| *old != path) {
        fs::remove_file(old)?;
    }
    Ok(())
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let (dir, meta, state) = (self.dir.clone(), self.meta.clone(), self.state.clone());
        let current = Arc::clone(&self.current);
        blocking::run(move || {
            let index = meta.last_log_id.map_or(0, |id| id.index);
            let temporary = dir.join(format!("building-{index}"));
            file::write(&temporary, &meta, &state)?;
            keep(&dir, &current, &meta, &temporary)?;
            metrics::counter!("flotilla_raft_snapshots_total").increment(1);
            let path = dir.join(format!("{index:020}{SUFFIX}"));
            Ok(Snapshot { meta, snapshot: SnapshotFile::kept(path) })
        })
        .await
    }
}
