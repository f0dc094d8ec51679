//! The store's folders `sled.N`. The highest that holds the file `COMPLETE` is the log; any other is left over and removed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sled::{Db, Tree};

use super::{damaged, recover, to_io};
use crate::folder::sync_dir;
use crate::metric;

/// Its presence says that the folder holds the whole log. Made last, synced with the folder.
const COMPLETE: &str = "COMPLETE";

/// In the folder of the stores while the first one is made, from before it is begun until it is complete: nobody has been
/// promised anything yet, whatever a power cut leaves of it.
const MAKING: &str = "MAKING";

/// sled's segments. One that was never used begins with zeros.
const SEGMENT: u64 = 512 << 10;
const SEGMENT_HEADER: usize = 20;

/// One open store.
pub struct Files {
    number: u64,
    dir: PathBuf,
    db: Db,
    pub tree: Tree,
    file: File,
}

impl Files {
    fn open(parent: &Path, number: u64) -> io::Result<Self> {
        let dir = folder(parent, number);
        fs::create_dir_all(&dir)?;
        remove_generating(&dir)?;
        trim_runway(&dir)?;
        // A killed process leaves writes that no power cut has tested. sled syncs a snapshot of them while it opens: they go
        // first, or a power cut in between leaves a snapshot of what is not there.
        sync_files(&dir)?;
        let db = sled::Config::new().path(&dir).flush_every_ms(None).cache_capacity(64 << 20).open().map_err(to_io)?;
        let tree = db.open_tree(b"raft").map_err(to_io)?;
        db.flush().map_err(to_io)?;
        // sled never syncs its `conf`, without which it takes the store for damaged.
        sync_files(&dir)?;
        sync_dir(&dir)?;
        sync_dir(parent)?;
        let file = File::open(dir.join("db"))?;
        report_blobs(&dir)?;
        Ok(Files { number, dir, db, tree, file })
    }

    /// Makes an empty store that is not the log yet.
    pub fn make(parent: &Path, number: u64) -> io::Result<Self> {
        let dir = folder(parent, number);
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        Self::open(parent, number)
    }

    /// Writes zeros behind what sled has used, so that it overwrites where it would let the file grow. An `fdatasync` of a file that
    /// has grown waits for the journal, and that for every process with a change of names or sizes under way on the same file
    /// system: 23 s on a machine busy with other things, where overwriting took 37 ms. Only while nobody else uses the store.
    pub fn lay_runway(&self, bytes: u64) -> io::Result<()> {
        self.db.flush().map_err(to_io)?;
        let file = fs::OpenOptions::new().write(true).open(self.dir.join("db"))?;
        let (mut at, zeros) = (file.metadata()?.len(), vec![0; 1 << 20]);
        let end = (at + bytes).next_multiple_of(SEGMENT);
        let begin = at;
        while at < end {
            let piece = zeros.len().min((end - at) as usize);
            if let Err(error) = file.write_all_at(&zeros[..piece], at) {
                file.set_len(begin)?;
                return Err(error);
            }
            at += piece as u64;
        }
        file.sync_all()
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns when everything written is on the disk, also after a power cut.
    pub fn sync(&self) -> io::Result<()> {
        self.db.flush().map_err(to_io)?;
        self.file.sync_data()?;
        metric::fsync();
        Ok(())
    }

    /// From here on this store is the log.
    pub fn complete(&self) -> io::Result<()> {
        self.sync()?;
        File::create(self.dir.join(COMPLETE))?.sync_all()?;
        sync_dir(&self.dir)
    }

    /// Bytes of the file that sled has used, the rest of its last segment included, and bytes laid out beyond.
    pub fn extent(&self) -> io::Result<(u64, u64)> {
        let used = used(&self.file)?;
        Ok((used, self.file.metadata()?.len().saturating_sub(used)))
    }
}

/// Opens the log, or makes an empty one where there is none.
pub fn open_current(parent: &Path) -> io::Result<Files> {
    let fresh = !parent.exists();
    fs::create_dir_all(parent)?;
    if fresh {
        sync_dir(parent.parent().unwrap_or(Path::new("/")))?;
    }
    if parent.join("db").exists() {
        return Err(damaged("it has the layout of a development version: set the node up anew".to_owned()));
    }
    let (numbers, making) = (numbers(parent)?, parent.join(MAKING));
    let complete = numbers.iter().copied().filter(|number| folder(parent, *number).join(COMPLETE).exists()).max();
    if let Some(number) = complete {
        if making.exists() {
            fs::remove_file(&making)?;
        }
        // Behind the lock of the store: who holds it may still be leaving another one.
        let files = Files::open(parent, number)?;
        remove_others(parent, number)?;
        return Ok(files);
    }
    if making.exists() {
        // The number of no store: all go.
        remove_others(parent, 0)?;
    } else {
        refuse_unmarked(parent, &numbers)?;
        File::create(&making)?.sync_all()?;
        sync_dir(parent)?;
    }
    let files = Files::make(parent, 1)?;
    files.complete()?;
    fs::remove_file(&making)?;
    sync_dir(parent)?;
    Ok(files)
}

/// Whether there is any store.
pub fn is_there(parent: &Path) -> bool {
    parent.join(MAKING).exists() || numbers(parent).is_ok_and(|numbers| !numbers.is_empty())
}

/// A store without a mark that holds something has lost it.
fn refuse_unmarked(parent: &Path, numbers: &[u64]) -> io::Result<()> {
    for number in numbers {
        let files = Files::open(parent, *number)?;
        let (found, bytes) = recover(&files.tree)?;
        if found.vote.is_some() || bytes > 0 {
            let dir = folder(parent, *number);
            return Err(damaged(format!("{} holds entries, but its file {COMPLETE} is missing", dir.display())));
        }
    }
    Ok(())
}

/// Removes every store but one.
pub fn remove_others(parent: &Path, number: u64) -> io::Result<()> {
    for other in numbers(parent)? {
        if other != number {
            match fs::remove_dir_all(folder(parent, other)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    sync_dir(parent)
}

fn folder(parent: &Path, number: u64) -> PathBuf {
    parent.join(format!("sled.{number}"))
}

fn numbers(parent: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for found in fs::read_dir(parent)? {
        let name = found?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.strip_prefix("sled.")?.parse::<u64>().ok()));
    }
    Ok(numbers)
}

fn sync_files(dir: &Path) -> io::Result<()> {
    for found in fs::read_dir(dir)? {
        let found = found?;
        if found.file_type()?.is_file() {
            File::open(found.path())?.sync_all()?;
        }
    }
    Ok(())
}

fn used(file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len().next_multiple_of(SEGMENT);
    while end > 0 {
        let mut header = [0; SEGMENT_HEADER];
        let read = file.read_at(&mut header, end - SEGMENT)?;
        if header[..read].iter().any(|byte| *byte != 0) {
            break;
        }
        end -= SEGMENT;
    }
    Ok(end)
}

/// sled takes the segments of the runway for free ones, overwrites each and cuts them off one by one, each with a sync.
fn trim_runway(dir: &Path) -> io::Result<()> {
    let file = match fs::OpenOptions::new().read(true).write(true).open(dir.join("db")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let used = used(&file)?;
    if file.metadata()?.len() > used { file.set_len(used) } else { Ok(()) }
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
