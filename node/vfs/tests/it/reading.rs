//! Reads from the page cache, reads of large files, and listings of large folders.

use std::time::Instant;

use bytes::Bytes;
use flotilla_vfs::LocalOptions;

use crate::fixtures::*;

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index / 7) as u8).collect()
}

#[tokio::test]
async fn what_is_cached_is_read_at_once() {
    let fixture = Fixture::new().await;
    let data = pattern(100_000);
    put(&*fixture.root, "f", &data).await.unwrap();
    let file = open(&*fixture.root, "f", READ).await.unwrap();
    // Read once, so that it is in the cache whatever the kernel did since.
    assert_eq!(get(&*fixture.root, "f").await.unwrap(), data);
    let mut out = b"before".to_vec();
    assert_eq!(file.read_now(10, 50_000, &mut out).unwrap().unwrap(), 50_000);
    assert_eq!((&out[..6], &out[6..]), (&b"before"[..], &data[10..50_010]));
    assert_eq!(file.read_now(99_990, 50_000, &mut out).unwrap().unwrap(), 10);
    assert_eq!(out.len(), 6 + 50_000 + 10);
    assert_eq!(file.read_now(100_000, 10, &mut out).unwrap().unwrap(), 0);
    assert_eq!(out.len(), 6 + 50_000 + 10);
}

#[tokio::test]
async fn a_file_system_in_memory_is_read_at_once() {
    let above = tempfile::tempdir().unwrap();
    let Some(_mount) = crate::full_disk::mount_tmpfs(above.path(), "8m") else { return };
    let storage = storage_at(above.path(), LocalOptions::default()).await;
    let root = storage.open_root("home", ACCOUNT).await.unwrap();
    let data = pattern(100_000);
    let staged = stage(&*root, "f", &data).await.unwrap();
    let mut out = Vec::new();
    for offset in [0, 50_000] {
        assert_eq!(staged.read_now(offset, 50_000, &mut out).unwrap().unwrap(), 50_000);
    }
    assert_eq!(out, data);
}

#[tokio::test]
async fn what_is_not_cached_is_never_read_wrongly() {
    let fixture = Fixture::new().await;
    let data = pattern(9 * 1024 * 1024 + 17);
    put(&*fixture.root, "f", &data).await.unwrap();
    let on_disk = std::fs::File::open(fixture.inside("f")).unwrap();
    rustix::fs::fadvise(&on_disk, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let file = open(&*fixture.root, "f", READ).await.unwrap();
    let (mut read, mut waited) = (Vec::new(), 0);
    while read.len() < data.len() {
        let offset = read.len() as u64;
        match file.read_now(offset, 32 * 1024, &mut read) {
            Some(count) => assert!(count.unwrap() > 0),
            None => {
                waited += 1;
                read.extend_from_slice(&file.read(offset, 32 * 1024, &free()).await.unwrap());
            }
        }
    }
    assert_eq!(read, data);
    println!("{waited} of {} reads waited for the disk", data.len() / (32 * 1024));
}

#[tokio::test]
async fn reads_longer_than_a_file_return_what_there_is() {
    let fixture = Fixture::new().await;
    put(&*fixture.root, "f", b"short").await.unwrap();
    let file = open(&*fixture.root, "f", WRITE).await.unwrap();
    assert_eq!(&file.read(0, 1 << 20, &free()).await.unwrap()[..], b"short");
    let big = Bytes::from(pattern(3 << 20));
    file.write(1, big.clone(), &free()).await.unwrap();
    assert_eq!(file.read(1, 3 << 20, &free()).await.unwrap(), big);
}

#[tokio::test]
async fn a_hundred_thousand_entries_are_listed_in_batches() {
    let fixture = Fixture::new().await;
    for number in 0..100_000 {
        std::fs::File::create(fixture.inside(&format!("{number:06}"))).unwrap();
    }
    let begun = Instant::now();
    let mut dir = fixture.root.open_dir(b"", &free()).await.unwrap();
    let mut seen = vec![false; 100_000];
    loop {
        let batch = dir.next(256, &free()).await.unwrap();
        if batch.is_empty() {
            break;
        }
        assert!(batch.len() <= 256);
        for entry in batch {
            let number: usize = std::str::from_utf8(&entry.name).unwrap().parse().unwrap();
            assert!(!std::mem::replace(&mut seen[number], true), "twice");
        }
    }
    assert!(seen.into_iter().all(|was_seen| was_seen));
    assert!(dir.next(256, &free()).await.unwrap().is_empty());
    println!("100,000 entries listed in {:?}", begun.elapsed());
}
