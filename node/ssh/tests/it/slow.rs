//! Clients that take their time, or too much of everything, before they log in.

use std::time::{Duration, Instant};

use flotilla_ssh::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client;
use crate::world::{World, eventually};

/// Reads until the server closes; how long that took.
async fn until_closed(stream: &mut TcpStream) -> Duration {
    let start = Instant::now();
    let mut scrap = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut scrap)).await.expect("it is closed");
    start.elapsed()
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed() {
    let world = World::with(|config| {
        config.limits = Limits { first_bytes: Duration::from_millis(300), ..Limits::default() };
    })
    .await;
    let mut stream = TcpStream::connect(world.address()).await.unwrap();
    assert!(until_closed(&mut stream).await < Duration::from_secs(5));
    eventually("its place is free", || world.handle.connections() == 0).await;
}

#[tokio::test]
async fn the_grace_time_is_absolute_however_busy_the_client_is() {
    let world = World::with(|config| {
        config.limits = Limits { login_grace: Duration::from_millis(800), ..Limits::default() };
    })
    .await;
    let idle = client::connect(&world).await;
    let mut dripping = TcpStream::connect(world.address()).await.unwrap();
    dripping.write_all(b"SSH-2.0-slow\r\n").await.unwrap();
    let start = Instant::now();
    // One byte of a packet at a time.
    while dripping.write_all(&[0]).await.is_ok() && start.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(start.elapsed() < Duration::from_secs(5), "dripped for {:?}", start.elapsed());
    eventually("both are gone", || world.handle.connections() == 0).await;
    assert!(idle.is_closed());
}

#[tokio::test]
async fn a_flood_before_the_login_is_cut_off() {
    let world = World::build().await;
    let mut stream = TcpStream::connect(world.address()).await.unwrap();
    stream.write_all(b"SSH-2.0-flood\r\n").await.unwrap();
    // A packet that announces 200,000 bytes.
    let mut packet = 200_000_u32.to_be_bytes().to_vec();
    packet.resize(200_000, 4);
    let _ = stream.write_all(&packet).await;
    assert!(until_closed(&mut stream).await < Duration::from_secs(5));
}

#[tokio::test]
async fn connections_beyond_the_startups_are_dropped_and_logins_make_room() {
    let world = World::with(|config| {
        let startups = Limits { startups_begin: 2, startups_percent: 100, startups_full: 3, ..Limits::default() };
        config.limits = startups;
    })
    .await;
    let logged_in = [client::logged_in(&world).await, client::logged_in(&world).await, client::logged_in(&world).await];
    let waiting = [client::connect(&world).await, client::connect(&world).await];
    let mut third = TcpStream::connect(world.address()).await.unwrap();
    let mut said = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), third.read_to_end(&mut said)).await;
    assert!(read.is_ok() && said.is_empty());
    drop(waiting);
    eventually("their places are free", || world.handle.connections() == logged_in.len()).await;
    client::logged_in(&world).await;
}
