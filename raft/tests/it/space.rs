//! The disk that the log takes is bounded by what it holds, however much has passed through it.

use std::path::Path;

use bytes::Bytes;
use flotilla_raft::testing::{LogId, LogStore, Payload, RaftEntry, Space, Vote};
use openraft::EntryPayload;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};
use openraft::vote::RaftLeaderId;

const SPACE: Space = Space { floor: 8 << 20, factor: 4 };
const ENTRY: usize = 2_000;
const BATCH: u64 = 64;
/// Entries kept behind a purge, and bytes that this is.
const KEPT: u64 = 500;
const LIVE: u64 = (KEPT + 16 * BATCH) * ENTRY as u64;
/// What is laid out in advance, and what may come on top of it before the log moves.
const STORE: u64 = SPACE.floor + SPACE.factor * LIVE + SPACE.floor;
/// While the log moves it lies in two stores.
const BOUND: u64 = 2 * STORE;

fn log_id(index: u64) -> LogId {
    let leader = openraft::impls::leader_id_std::LeaderId::<u64, u64>::new(1, 1);
    LogId { leader_id: leader.to_committed(), index }
}

/// Does not compress, and differs from entry to entry.
fn entry(index: u64) -> RaftEntry {
    let bytes: Vec<u8> = (0..ENTRY as u64).map(|at| (index.wrapping_mul(0x9e37_79b9) >> (at % 32)) as u8).collect();
    RaftEntry { log_id: log_id(index), payload: EntryPayload::Normal(Payload(Bytes::from(bytes))) }
}

fn size(dir: &Path) -> u64 {
    let Ok(found) = std::fs::read_dir(dir) else { return 0 };
    found
        .filter_map(Result::ok)
        .map(|found| match found.metadata() {
            Ok(what) if what.is_dir() => size(&found.path()),
            Ok(what) => what.len(),
            // A store that the log has just left.
            Err(_) => 0,
        })
        .sum()
}

fn stores(dir: &Path) -> Vec<String> {
    let found = std::fs::read_dir(dir).expect("the folder");
    found.map(|found| found.expect("an entry of the folder").file_name().to_string_lossy().into_owned()).collect()
}

async fn open(dir: &Path, space: Space) -> LogStore {
    for _ in 0..200 {
        match LogStore::open_sled_within(dir, (), space) {
            Err(error) if error.to_string().contains("lock") => {}
            other => return other.expect("the store opens"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the store stays locked");
}

/// Appends and purges so many bytes; returns the most that the folder had.
async fn pass_through(dir: &Path, space: Space, bytes: u64) -> u64 {
    pass_through_store(open(dir, space).await, dir, bytes).await
}

async fn pass_through_store(mut store: LogStore, dir: &Path, bytes: u64) -> u64 {
    store.save_vote(&Vote::new(7, 1)).await.expect("the vote");
    let (mut last, mut most) = (0, 0);
    while last * (ENTRY as u64) < bytes {
        store.blocking_append((last + 1..=last + BATCH).map(entry)).await.expect("the entries");
        last += BATCH;
        if last % (16 * BATCH) == 0 {
            store.purge(log_id(last - KEPT)).await.expect("the purge");
        }
        most = most.max(size(dir));
    }
    let found = store.try_get_log_entries(0..u64::MAX).await.expect("the entries");
    let state = store.get_log_state().await.expect("the state");
    assert_eq!(state.last_log_id, Some(log_id(last)));
    let first = state.last_purged_log_id.map_or(1, |id| id.index + 1);
    assert!(found == (first..=last).map(entry).collect::<Vec<_>>(), "{} entries of {first}..={last}", found.len());
    most
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_through_which_much_has_passed_stays_small_and_whole() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let log = dir.path().join("log");
    let most = pass_through(&log, SPACE, 96 << 20).await;
    println!("at most {} KiB for {} KiB live, bound {} KiB, {:?}", most >> 10, LIVE >> 10, BOUND >> 10, stores(&log));
    assert!(most <= BOUND, "{most} bytes, bound {BOUND}");
    assert!(!log.join("sled.1").exists(), "it has moved");
    let mut store = open(&log, SPACE).await;
    assert_eq!(stores(&log).len(), 1, "one store is left");
    assert_eq!(store.read_vote().await.expect("the vote"), Some(Vote::new(7, 1)));
    let state = store.get_log_state().await.expect("the state");
    let (first, last) =
        (state.last_purged_log_id.expect("purged").index + 1, state.last_log_id.expect("entries").index);
    let found = store.try_get_log_entries(0..u64::MAX).await.expect("the entries");
    assert!(found == (first..=last).map(entry).collect::<Vec<_>>(), "the same after a reopen");
}

/// redb uses freed pages again: no more than a few times of what is live, by the pages that two transactions hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_on_redb_through_which_much_has_passed_stays_small_too() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let log = dir.path().join("log");
    let store = LogStore::open_redb(&log, ()).expect("a new store");
    let most = pass_through_store(store, &log, 96 << 20).await;
    println!("at most {} KiB for {} KiB live", most >> 10, LIVE >> 10);
    assert!(most <= 6 * LIVE, "{most} bytes, {LIVE} live");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_has_lost_its_mark_is_refused_and_an_unfinished_one_is_not() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let log = dir.path().join("log");
    pass_through(&log, Space::default(), 1 << 20).await;
    drop(open(&log, SPACE).await);
    std::fs::create_dir(log.join("sled.2")).expect("what a crash during a move leaves");
    drop(open(&log, SPACE).await);
    assert!(!log.join("sled.2").exists(), "it is removed");
    drop(open(&log, SPACE).await);
    std::fs::remove_file(log.join("sled.1/COMPLETE")).expect("the mark");
    let error = loop {
        match LogStore::open_sled(&log, ()) {
            Err(error) if error.to_string().contains("lock") => tokio::task::yield_now().await,
            Err(error) => break error.to_string(),
            Ok(_) => panic!("it opens"),
        }
    };
    assert!(error.contains("COMPLETE is missing"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_a_power_cut_has_ended_is_made_anew() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let log = dir.path().join("log");
    let first = log.join("sled.1");
    std::fs::create_dir_all(&first).expect("a store that was begun");
    for file in ["conf", "db"] {
        std::fs::write(first.join(file), "torn ".repeat(1000)).expect("what the power cut left of it");
    }
    let Err(refused) = LogStore::open_sled(&log, ()) else { panic!("this may have been a whole store once") };
    println!("without its sign: {refused}");
    std::fs::write(log.join("MAKING"), "").expect("the sign that nothing was promised");
    drop(open(&log, SPACE).await);
    drop(open(&log, SPACE).await);
    assert_eq!(stores(&log), ["sled.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_behind_its_snapshot_shows_that_it_reaches_as_far() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut store = open(&dir.path().join("log"), SPACE).await;
    store.save_vote(&Vote::new(7, 1)).await.expect("the vote");
    store.blocking_append((1..=5).map(entry)).await.expect("the entries");
    store.covered_by(log_id(4)).await.expect("nothing to do");
    assert_eq!(store.get_log_state().await.expect("the state").last_purged_log_id, None);
    store.covered_by(log_id(100)).await.expect("purged");
    assert_eq!(store.get_log_state().await.expect("the state").last_log_id, Some(log_id(100)));
    store.blocking_append([entry(101)]).await.expect("the next entry");
}
