//! The log store by itself: what is there after a crash, and damage that is noticed.

use std::path::Path;

use bytes::Bytes;
use flotilla_raft::testing::{LogId, LogStore, Payload, RaftEntry, Vote};
use openraft::EntryPayload;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};

fn log_id(index: u64) -> LogId {
    use openraft::vote::RaftLeaderId;
    let leader = openraft::impls::leader_id_std::LeaderId::<u64, u64>::new(1, 1);
    LogId { leader_id: leader.to_committed(), index }
}

fn entry(index: u64, size: usize) -> RaftEntry {
    let bytes = vec![index as u8; size];
    RaftEntry { log_id: log_id(index), payload: EntryPayload::Normal(Payload(Bytes::from(bytes))) }
}

/// Opens a store that may just be closing.
async fn open(dir: &Path) -> std::io::Result<LogStore> {
    for _ in 0..200 {
        match LogStore::open_sled(dir, ()) {
            Err(error) if error.to_string().contains("lock") => {}
            other => return other,
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the store stays locked");
}

async fn filled(dir: &Path) -> LogStore {
    let mut store = open(dir).await.expect("a new store");
    store.save_vote(&Vote::new(3, 1)).await.expect("the vote");
    store.blocking_append((1..=40).map(|index| entry(index, 40_000))).await.expect("the entries");
    store
}

/// Copies the files as they are while the store is open: what a crash would leave.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the copy's folder");
    for found in std::fs::read_dir(from).expect("the folder") {
        let found = found.expect("an entry of the folder");
        let target = to.join(found.file_name());
        if found.file_type().expect("its type").is_dir() {
            copy(&found.path(), &target);
        } else {
            std::fs::copy(found.path(), target).expect("copying");
        }
    }
}

async fn check_filled(store: &mut LogStore) {
    assert_eq!(store.read_vote().await.expect("the vote"), Some(Vote::new(3, 1)));
    let found = store.try_get_log_entries(0..100).await.expect("the entries");
    assert!(found == (1..=40).map(|index| entry(index, 40_000)).collect::<Vec<_>>(), "{} entries", found.len());
}

#[tokio::test]
async fn acknowledged_votes_and_entries_are_there_after_a_crash() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = filled(&dir.path().join("log")).await;
    copy(&dir.path().join("log"), &dir.path().join("crashed"));
    drop(store);
    let mut crashed = open(&dir.path().join("crashed")).await.expect("the copy opens");
    check_filled(&mut crashed).await;
    let mut dropped = open(&dir.path().join("log")).await.expect("the store opens again");
    check_filled(&mut dropped).await;
}

#[tokio::test]
async fn an_unfinished_snapshot_of_the_engine_does_not_keep_the_store_from_opening() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    drop(filled(&dir.path().join("log")).await);
    drop(open(&dir.path().join("log")).await.expect("the store opens"));
    std::fs::write(dir.path().join("log/sled.1/snap.00000000000000FF.generating"), b"").expect("the file");
    let mut store = open(&dir.path().join("log")).await.expect("the store opens all the same");
    check_filled(&mut store).await;
}

#[tokio::test]
async fn truncation_and_purge_are_there_after_a_reopen() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut store = filled(&dir.path().join("log")).await;
    store.truncate_after(Some(log_id(30))).await.expect("the truncation");
    store.purge(log_id(10)).await.expect("the purge");
    drop(store);
    let mut store = open(&dir.path().join("log")).await.expect("the store opens");
    let state = store.get_log_state().await.expect("its state");
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(log_id(10)), Some(log_id(30))));
    let found = store.try_get_log_entries(0..100).await.expect("the entries");
    assert_eq!(found.iter().map(|entry| entry.log_id.index).collect::<Vec<_>>(), (11..=30).collect::<Vec<_>>());
}

/// A follower that is sent what is left of such a range has a hole in its log.
#[tokio::test]
async fn a_range_that_begins_before_the_log_has_no_entries_to_replicate() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut store = filled(&dir.path().join("log")).await;
    store.purge(log_id(10)).await.expect("the purge");
    assert!(store.limited_get_log_entries(10, 41).await.expect("read").is_empty());
    let found = store.limited_get_log_entries(11, 41).await.expect("read");
    assert_eq!(found.first().map(|entry| entry.log_id.index), Some(11));
}

/// Changes the store behind its back, through the engine.
async fn tamper(dir: &Path, change: impl Fn(&sled::Tree)) {
    drop(filled(dir).await);
    drop(open(dir).await.expect("closed and opened again"));
    for _ in 0..200 {
        if let Ok(db) = sled::open(dir.join("sled.1")) {
            change(&db.open_tree(b"raft").expect("the tree"));
            db.flush().expect("flushed");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the store stays locked");
}

fn key(index: u64, chunk: u16) -> Vec<u8> {
    [b"e".as_slice(), &index.to_be_bytes(), &chunk.to_be_bytes()].concat()
}

#[tokio::test]
async fn a_damaged_entry_keeps_the_store_from_opening() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    tamper(&dir.path().join("log"), |tree| {
        let mut value = tree.get(key(17, 1)).expect("reading").expect("its second chunk").to_vec();
        value[100] ^= 1;
        tree.insert(key(17, 1), value).expect("writing");
    })
    .await;
    let error = open(&dir.path().join("log")).await.err().expect("it is refused").to_string();
    assert!(error.contains("entry 17 does not match its checksum"), "{error}");
}

#[tokio::test]
async fn a_missing_entry_keeps_the_store_from_opening() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    tamper(&dir.path().join("log"), |tree| {
        for chunk in 0..20 {
            tree.remove(key(17, chunk)).expect("removing");
        }
    })
    .await;
    let error = open(&dir.path().join("log")).await.err().expect("it is refused").to_string();
    assert!(error.contains("entries 17 to 17 are missing"), "{error}");
}

#[tokio::test]
async fn no_value_is_large_enough_for_the_engine_to_write_it_aside() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut store = open(&dir.path().join("log")).await.expect("a new store");
    store.blocking_append((1..=8).map(|index| entry(index, 2_000_000))).await.expect("the entries");
    drop(store);
    drop(open(&dir.path().join("log")).await.expect("it opens"));
    let blobs = std::fs::read_dir(dir.path().join("log/sled.1/blobs")).map_or(0, Iterator::count);
    assert_eq!(blobs, 0);
}

fn files_of(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for found in std::fs::read_dir(dir).expect("the folder").map(|found| found.expect("an entry of the folder").path())
    {
        if found.is_dir() { files.extend(files_of(&found)) } else { files.push(found) }
    }
    files.sort();
    files
}

/// What was flipped may harm nothing, or only be seen by peers, for it took the log's end. What the store notices it tells, without a
/// panic, and with what is to be done.
#[tokio::test]
async fn flipped_bits_in_any_file_of_the_store_are_told_with_what_to_do() {
    flipped("db", open).await;
    flipped("log.redb", open_redb).await;
}

async fn flipped(largest: &str, open: impl AsyncFn(&Path) -> std::io::Result<LogStore>) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let sound = dir.path().join("sound");
    let mut store = open(&sound).await.expect("a new store");
    for from in (1..=4_000).step_by(20) {
        store.save_vote(&Vote::new(from, 1)).await.expect("the vote");
        store.blocking_append((from..from + 20).map(|index| entry(index, 300))).await.expect("the entries");
    }
    store.purge(log_id(2_000)).await.expect("the purge");
    drop(store);
    let (mut told, mut opened) = (0, 0);
    for turn in 0..120_usize {
        let log = dir.path().join(format!("log{turn}"));
        copy(&sound, &log);
        let mut files = files_of(&log);
        files.retain(|file| std::fs::read(file).expect("a file").iter().any(|byte| *byte != 0));
        let db = files.iter().position(|file| file.ends_with(largest)).expect("the file with the entries");
        // The small files are flipped in a third of the turns.
        let file = &files[if turn % 3 == 0 { turn / 3 % files.len() } else { db }];
        let mut bytes = std::fs::read(file).expect("the file");
        let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        let at = used[turn * 7_919_993 % used.len()];
        bytes[at] ^= 1 << (turn % 8);
        std::fs::write(file, bytes).expect("written");
        match open(&log).await {
            Ok(_) => opened += 1,
            Err(error) => {
                let error = error.to_string();
                let what = format!("{} at {at}: {error}", file.display());
                let says = ["log store is damaged: ", "join it afresh", log.to_str().expect("a path that is text")];
                assert!(says.iter().all(|text| error.matches(text).count() == 1), "{what}");
                told += 1;
            }
        }
        std::fs::remove_dir_all(&log).expect("removed");
    }
    assert!(told > 10 && opened > 10, "{largest}: {told} told, {opened} opened");
}

/// Opens a store on redb that may just be closing.
async fn open_redb(dir: &Path) -> std::io::Result<LogStore> {
    for _ in 0..200 {
        match LogStore::open_redb(dir, ()) {
            Err(error) if error.to_string().contains("lock") => {}
            other => return other,
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the store stays locked");
}

#[tokio::test]
async fn a_log_of_one_engine_is_not_opened_with_the_other() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (sled, redb) = (dir.path().join("sled"), dir.path().join("redb"));
    drop(filled(&sled).await);
    drop(open_redb(&redb).await.expect("a new store"));
    let error = open_redb(&sled).await.err().expect("it is refused").to_string();
    assert!(error.contains("was begun with sled, but `[raft] store` says redb"), "{error}");
    let error = open(&redb).await.err().expect("it is refused").to_string();
    assert!(error.contains("was begun with redb, but `[raft] store` says sled"), "{error}");
}

#[tokio::test]
async fn redb_keeps_truncations_and_purges_and_notices_damage() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let log = dir.path().join("log");
    std::fs::create_dir(&log).expect("the folder");
    std::fs::write(log.join("log.redb.new"), "half made").expect("what a crash at the first start leaves");
    let mut store = open_redb(&log).await.expect("a new store");
    store.save_vote(&Vote::new(3, 1)).await.expect("the vote");
    store.blocking_append((1..=40).map(|index| entry(index, 40_000))).await.expect("the entries");
    store.truncate_after(Some(log_id(30))).await.expect("the truncation");
    store.purge(log_id(10)).await.expect("the purge");
    drop(store);
    let mut store = open_redb(&log).await.expect("the store opens");
    assert!(!log.join("log.redb.new").exists(), "what was half made is gone");
    assert_eq!(store.read_vote().await.expect("the vote"), Some(Vote::new(3, 1)));
    let state = store.get_log_state().await.expect("its state");
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(log_id(10)), Some(log_id(30))));
    let found = store.try_get_log_entries(0..100).await.expect("the entries");
    assert!(found == (11..=30).map(|index| entry(index, 40_000)).collect::<Vec<_>>(), "{} entries", found.len());
    drop(store);
    drop(open_redb(&log).await.expect("closed and opened again"));
    let path = log.join("log.redb");
    let mut bytes = std::fs::read(&path).expect("the file");
    // Somewhere in the middle of entry 17, whose bytes are all 17.
    let at = bytes.windows(4_000).position(|window| window.iter().all(|byte| *byte == 17)).expect("its bytes");
    bytes[at + 2_000] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let error = open_redb(&log).await.err().expect("it is refused").to_string();
    // redb's own checksum notices it, or ours.
    let noticed = error.contains("corrupted") || error.contains("entry 17 does not match its checksum");
    assert!(noticed && error.contains(log.to_str().expect("a path that is text")), "{error}");
}
