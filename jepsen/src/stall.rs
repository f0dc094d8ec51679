//! Measures when this machine itself stood still: threads that were not run, a disk that did not answer. Rules that promise a time do
//! not count such spans; rules of safety do.

use std::io::{Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use crate::disk::Disk;
use crate::disk::mount::mount;
use crate::history::Recorder;

/// The name of records of spans in which the machine stood still.
pub const STALL: &str = "machine.stall";

const EVERY: Duration = Duration::from_millis(20);
const DISK_EVERY: Duration = Duration::from_millis(500);
/// What is slower than this is written down.
const SLOW: Duration = Duration::from_millis(250);

/// Runs until it is dropped.
pub struct Meter {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// Unmounted behind the threads.
    _ours: Option<fuser::BackgroundSession>,
}

impl Meter {
    /// Writes a file of its own in the folder, on a disk like the nodes': with `fault_disks` on one of ours, which no fault befalls.
    pub fn start(recorder: &Recorder, folder: &Path, fault_disks: bool) -> Result<Meter> {
        let over = Arc::new(AtomicBool::new(false));
        let folder = folder.join("stall");
        std::fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        let ours = fault_disks.then(|| mount(Arc::new(Disk::new()), &folder)).transpose();
        let ours = ours.with_context(|| format!("mounting over {}", folder.display()))?;
        let mut file = std::fs::File::create(folder.join("file")).context("a file to measure the disk with")?;
        let note = |recorder: &Recorder, what: &str, took: Duration| {
            if took > SLOW {
                recorder.observe(STALL, json!({"what": what, "ms": took.as_millis() as u64}));
            }
        };
        let (clock, ends) = (recorder.clone(), Arc::clone(&over));
        let threads = std::thread::spawn(move || {
            while !ends.load(Ordering::Acquire) {
                let before = Instant::now();
                std::thread::sleep(EVERY);
                note(&clock, "threads", before.elapsed().saturating_sub(EVERY));
            }
        });
        let (clock, ends) = (recorder.clone(), Arc::clone(&over));
        let disk = std::thread::spawn(move || {
            while !ends.load(Ordering::Acquire) {
                std::thread::sleep(DISK_EVERY);
                let before = Instant::now();
                let synced = file.rewind().and_then(|()| file.write_all(&[1; 4096])).and_then(|()| file.sync_data());
                if synced.is_ok() {
                    note(&clock, "disk", before.elapsed());
                }
            }
        });
        Ok(Meter { over, threads: vec![threads, disk], _ours: ours })
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::Meter;
    use crate::history::Recorder;

    #[test]
    fn it_measures_a_disk_like_the_nodes() {
        for fault_disks in [false, true] {
            let folder = tempfile::tempdir().expect("a folder");
            let recorder = Recorder::create(&folder.path().join("history.jsonl")).expect("a history");
            let meter = match Meter::start(&recorder, folder.path(), fault_disks) {
                Ok(meter) => meter,
                Err(error) if fault_disks => {
                    eprintln!("skipped: this machine cannot mount FUSE file systems: {error:#}");
                    return;
                }
                Err(error) => panic!("{error:#}"),
            };
            let device = |name: &str| std::fs::metadata(folder.path().join(name)).expect("it is there").dev();
            assert_eq!(device("stall/file") != device("history.jsonl"), fault_disks);
            drop(meter);
            assert_eq!(device("stall"), device("history.jsonl"), "it is unmounted");
        }
    }
}
