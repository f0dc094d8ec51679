//! A file that leaves the root while it is opened (another session's capture takes it to staging) is missing, nothing else: the kernel
//! answers EXDEV to a scoped lookup whose result was moved out before it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flotilla_vfs::VfsError;

use crate::fixtures::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_captured_while_it_is_opened_is_missing_or_there() {
    let fixture = Fixture::new().await;
    put(&*fixture.root, "f", b"x").await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let (inside, outside, stop) = (fixture.inside("f"), fixture.folder.path().join("f"), is_over.clone());
    let mover = std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            std::fs::rename(&inside, &outside).unwrap();
            std::fs::rename(&outside, &inside).unwrap();
        }
    });
    let (begun, mut opened, mut missed, mut other) = (Instant::now(), 0, 0, Vec::new());
    while begun.elapsed() < Duration::from_secs(2) {
        let results = [
            open(&*fixture.root, "f", READ).await.map(drop),
            fixture.root.set_stat(b"f", flotilla_vfs::SetStat::default(), &free()).await,
            fixture.root.real_path(b"f", &free()).await.map(drop),
        ];
        for result in results {
            match result {
                Ok(()) => opened += 1,
                Err(VfsError::NotFound) => missed += 1,
                Err(error) => other.push(error),
            }
        }
    }
    is_over.store(true, Ordering::Relaxed);
    mover.join().unwrap();
    println!("{opened} found, {missed} missed");
    assert!(other.is_empty(), "{} of {}: {:?}", other.len(), opened + missed, other[0]);
    assert!(opened > 100 && missed > 100);
}
