//! Limits that only show over time or over the wire: bandwidth, large folders, clients that vanish without a word.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flotilla_model::UserPatch;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::world::{USER, World, content, eventually};
use crate::{client, openssh};

/// KB/s count 1000 bytes; a quarter of a second's worth may pass at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_over_time_keep_to_the_users_bandwidth() {
    let world = World::build().await;
    let (source, target) = (world.scratch("source"), world.scratch("target"));
    const BYTES: usize = 1_500_000;
    std::fs::write(&source, content(BYTES)).unwrap();
    std::fs::create_dir_all(world.home("")).unwrap();
    let upload = format!("put {} file\n", source.display());
    let download = format!("get file {}\n", target.display());
    let limited = |upload, download| UserPatch {
        upload_bandwidth: Some(upload),
        download_bandwidth: Some(download),
        ..UserPatch::default()
    };
    for (limits, commands, is_slow) in [
        (limited(500, 0), &upload, true),
        (limited(500, 0), &download, false),
        (limited(0, 500), &download, true),
        (limited(0, 500), &upload, false),
    ] {
        world.update(limits);
        let start = Instant::now();
        openssh::batch(&world, commands).await.success();
        let took = start.elapsed();
        // Three seconds' worth, less the burst; the other direction has no limit, so its time depends on the machine alone.
        assert!(!is_slow || took >= Duration::from_millis(2_600), "{commands}: {took:?}");
        assert!(took < Duration::from_secs(30), "{commands}: {took:?}");
    }
    assert_eq!(std::fs::read(target).unwrap(), content(BYTES));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_a_hundred_thousand_files_is_listed_whole() {
    let world = World::build().await;
    std::fs::create_dir_all(world.home("")).unwrap();
    for n in 0..100_000 {
        std::fs::File::create(world.home(&format!("{n:06}"))).unwrap();
    }
    let said = openssh::batch(&world, "ls -f -1\n").await.success();
    let mut names: Vec<&str> = said.out.lines().filter(|line| line.len() == 6).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!((names.len(), names.first(), names.last()), (100_000, Some(&"000000"), Some(&"099999")));
}

/// A relay that stops forwarding without closing anything, as a pulled cable does.
async fn relay(world: &World) -> (std::net::SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, target) = (listener.local_addr().unwrap(), world.address());
    let (hand, mut cut) = watch::channel(false);
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(target).await.unwrap();
        let (mut near_read, mut near_write) = near.into_split();
        let (mut far_read, mut far_write) = far.into_split();
        let forwarding = async {
            tokio::select! {
                _ = tokio::io::copy(&mut near_read, &mut far_write) => {}
                _ = tokio::io::copy(&mut far_read, &mut near_write) => {}
            }
        };
        let is_cut = tokio::select! {
            () = forwarding => false,
            found = cut.wait_for(|cut| *cut) => found.is_ok(),
        };
        if is_cut {
            // The sockets stay open and silent until the test is over.
            let _ = cut.wait_for(|cut| !*cut).await.map(drop);
        }
        let _ = far_write.shutdown().await;
    });
    (address, hand)
}

#[tokio::test]
async fn a_client_that_vanished_without_a_word_makes_way_for_the_next() {
    let world = World::build().await;
    world.update(UserPatch { max_sessions: Some(1), ..UserPatch::default() });
    let (address, cut) = relay(&world).await;
    let mut ghost = client::over(TcpStream::connect(address).await.unwrap()).await;
    assert!(ghost.authenticate_password(USER, crate::world::PASSWORD).await.unwrap().success());
    let sftp = Arc::new(client::sftp(&ghost).await);
    sftp.create("proof").await.unwrap();
    cut.send_replace(true);
    // Only who has been silent for two seconds is asked.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let start = Instant::now();
    openssh::batch(&world, "ls\n").await.success();
    assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
    eventually("its slots are back", || world.sessions() == 0).await;
}

#[tokio::test]
async fn a_silent_client_that_lives_keeps_its_slot() {
    let world = World::build().await;
    world.update(UserPatch { max_sessions: Some(1), ..UserPatch::default() });
    let first = client::logged_in(&world).await;
    let sftp = client::sftp(&first).await;
    // Silent for longer than it takes to be asked.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let said = openssh::batch(&world, "pwd\n").await;
    assert!(!said.ok && said.err.contains("1 of 1 sessions"), "{}", said.err);
    sftp.create("still-here").await.unwrap();
}
