//! Figures, not tests: `cargo test -p flotilla-vfs -- --ignored --nocapture speed`.

use std::time::Instant;

use bytes::Bytes;
use flotilla_vfs::Durability;
use futures::StreamExt;

use crate::fixtures::*;

async fn small_files(durability: Durability, at_once: usize, overwrite: bool) {
    let fixture = Fixture::new().await;
    let root = fixture.root.clone();
    let rounds = if overwrite { 2 } else { 1 };
    let mut begun = Instant::now();
    for _ in 0..rounds {
        begun = Instant::now();
        futures::stream::iter(0..2000)
            .map(|number| {
                let root = root.clone();
                async move {
                    let staged = stage(&*root, &format!("f{number}"), &[7; 1024]).await.unwrap();
                    settle(staged.publish(durability, &free()).await.unwrap()).await.unwrap();
                }
            })
            .buffer_unordered(at_once)
            .collect::<Vec<_>>()
            .await;
    }
    println!("2,000 files of 1 KiB, {durability:?}, {at_once} at once, overwrite {overwrite}: {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_of_small_files() {
    if std::env::var_os("FLOTILLA_FIGURES").is_none() {
        return println!("skipped: figures are printed with FLOTILLA_FIGURES=1 and --nocapture");
    }
    for durability in [Durability::None, Durability::Close] {
        for (at_once, overwrite) in [(1, false), (16, false), (1, true)] {
            small_files(durability, at_once, overwrite).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_large_file() {
    if std::env::var_os("FLOTILLA_FIGURES").is_none() {
        return println!("skipped: figures are printed with FLOTILLA_FIGURES=1 and --nocapture");
    }
    let fixture = Fixture::new().await;
    let chunk = Bytes::from(vec![7; 255 * 1024]);
    let staged = stage(&*fixture.root, "f", b"").await.unwrap();
    let begun = Instant::now();
    for number in 0..2048 {
        staged.write(number * chunk.len() as u64, chunk.clone(), &free()).await.unwrap();
    }
    let size = 2048 * chunk.len() as u64;
    println!("{size} bytes written in {:?}", begun.elapsed());
    staged.publish(Durability::Close, &free()).await.unwrap();
    println!("and stored after {:?}", begun.elapsed());
    let (begun, mut out, mut offset, mut waited) = (Instant::now(), Vec::new(), 0, 0);
    while offset < size {
        out.clear();
        match staged.read_now(offset, chunk.len(), &mut out) {
            Some(count) => offset += count.unwrap() as u64,
            None => {
                waited += 1;
                offset += staged.read(offset, chunk.len(), &free()).await.unwrap().len() as u64;
            }
        }
    }
    println!("read in {:?}, waited {waited} times", begun.elapsed());
}
