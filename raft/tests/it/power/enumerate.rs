//! The crash-point enumerator: short recordings, cut at every point, with every subset of what was not synced where those are few.

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use flotilla_raft::StoreChoice;

use super::recording::Recording;
use super::recording::crash::{Count, Disk, Ignored, PER_POINT};
use super::{record, strace};
use crate::writer::{ENGINES, Promises};

/// Recordings in an ordinary run; `FLOTILLA_CRASH_TRACES` asks for more.
const TRACES: u64 = 2;
/// Disks that are opened at the same time.
const WORKERS: usize = 2;

fn traces() -> u64 {
    std::env::var("FLOTILLA_CRASH_TRACES").ok().and_then(|text| text.parse().ok()).unwrap_or(TRACES)
}

/// In memory where there is some: what a sync does is played by the enumerator, not by this disk.
fn place() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary folder")
}

/// Three short processes after each other, each killed by itself; a second opens what the first left, a third what that left.
fn short(engine: StoreChoice, seed: u64) -> Recording {
    let dir = tempfile::tempdir().expect("a temporary folder");
    record(engine, dir.path(), &[(seed * 3 + 1, 14), (seed * 3 + 2, 10), (seed * 3 + 3, 4)])
}

fn lay(disk: &Disk, root: &str, log: &Path) {
    std::fs::create_dir(log).expect("the folder");
    for (path, content) in &disk.files {
        let path = log.join(path.strip_prefix(root).expect("a path within the folder").trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("the folder");
        std::fs::write(path, content.as_slice()).expect("the file");
    }
}

/// Opens every disk; the first that lacks something that was promised ends it.
fn sweep(engine: StoreChoice, recording: &Recording, ignored: Ignored, seed: u64) -> (Count, Result<(), String>) {
    let failure: Arc<Mutex<Option<String>>> = Arc::default();
    let (queue, disks) = sync_channel::<(Disk, Promises)>(WORKERS);
    let disks = Arc::new(Mutex::new(disks));
    let root = recording.root().to_owned();
    let count = std::thread::scope(|threads| {
        for _ in 0..WORKERS {
            let (disks, failure, root) = (Arc::clone(&disks), Arc::clone(&failure), root.clone());
            threads.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                loop {
                    let next = disks.lock().expect("no panic").recv();
                    let Ok((disk, promises)) = next else { return };
                    let place = place();
                    let log = place.path().join("log");
                    lay(&disk, &root, &log);
                    if let Err(why) = runtime.block_on(promises.check(&log)) {
                        let why = format!("cut behind line {}, {}: {why}", disk.line, disk.what);
                        failure.lock().expect("no panic").get_or_insert(why);
                    }
                }
            });
        }
        let (mut said, mut promises) = (recording.all_said(), Promises::of(engine));
        let (count, _) = recording.enumerate(ignored, seed, |disk| {
            if failure.lock().expect("no panic").is_some() {
                return Err(());
            }
            while let Some((_, words)) = said.next_if(|(line, _)| *line <= disk.line) {
                promises.hear(words);
            }
            queue.send((disk, promises.clone())).map_err(drop)
        });
        drop(queue);
        count
    });
    let failure = failure.lock().expect("no panic").take();
    (count, failure.map_or(Ok(()), Err))
}

fn cut_everywhere(engine: StoreChoice) {
    let Some(()) = strace() else { return };
    for seed in 0..traces() {
        let recording = short(engine, seed);
        let began = std::time::Instant::now();
        let (count, outcome) = sweep(engine, &recording, Ignored::default(), seed + 1);
        println!(
            "{engine:?}, trace {seed}: {} points, at {} of them all subsets of what was not synced, else {PER_POINT} (most at once {}); \
             {} disks opened, {} met before; {} ms",
            count.points,
            count.whole,
            count.most_pending,
            count.disks,
            count.repeated,
            began.elapsed().as_millis()
        );
        outcome.unwrap_or_else(|why| panic!("{engine:?}, trace {seed}: {why}"));
        assert!(count.points > 150 && count.disks > 150, "it shows little: {count:?}");
    }
}

#[test]
fn no_cut_at_any_point_of_a_short_life_loses_what_was_acknowledged() {
    cut_everywhere(StoreChoice::Sled);
}

#[test]
fn no_cut_at_any_point_of_a_short_life_on_redb_does() {
    cut_everywhere(StoreChoice::Redb);
}

/// Each kind of sync is there for a reason, and the enumerator would see it missing.
#[test]
fn a_store_that_leaves_a_kind_of_sync_out_is_caught() {
    let Some(()) = strace() else { return };
    for engine in ENGINES {
        let recording = short(engine, 0);
        let mut kinds =
            vec![Ignored { fdatasync: true, ..Ignored::default() }, Ignored { folders: true, ..Ignored::default() }];
        if engine == StoreChoice::Sled {
            kinds.push(Ignored { fsync: true, ..Ignored::default() });
        }
        for ignored in kinds {
            let (count, outcome) = sweep(engine, &recording, ignored, 1);
            let why = outcome
                .err()
                .unwrap_or_else(|| panic!("{engine:?}, {ignored:?}: not noticed on {} disks", count.disks));
            println!("{engine:?}, {ignored:?}, disk {}: {why}", count.disks);
        }
    }
}
