//! Prints how long small uploads and one large file take on this machine's storage: `cargo bench -p flotilla-vfs`.
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::time::Instant;

use bytes::Bytes;
use flotilla_vfs::Durability;
use futures::StreamExt;

#[allow(dead_code, reason = "a benchmark needs few of them")]
#[path = "../tests/it/fixtures.rs"]
mod fixtures;

use fixtures::*;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    for durability in [Durability::None, Durability::Close] {
        for (at_once, overwrite) in [(1, false), (16, false), (1, true)] {
            small_files(durability, at_once, overwrite).await;
        }
    }
    one_large_file().await;
}

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

async fn one_large_file() {
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
