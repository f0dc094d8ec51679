//! The PROXY protocol on the wire.

use std::time::Duration;

use flotilla_cluster::Cluster;
use flotilla_ssh::{Limits, Listen, PenaltyRules, ProxyProtocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client;
use crate::world::{PASSWORD, USER, World, eventually};

async fn world(trusted: &str) -> World {
    let trusted = trusted.parse().unwrap();
    World::with(|config| {
        let required = Listen { address: ([127, 0, 0, 1], 0).into(), proxy_protocol: ProxyProtocol::Required };
        config.listen = vec![required];
        config.trusted_proxies = vec![trusted];
        config.limits = Limits { first_bytes: Duration::from_millis(500), ..Limits::default() };
    })
    .await
}

/// Whether the server closes without a word of SSH.
async fn is_closed_silently(world: &World, first: &[u8]) -> bool {
    let mut stream = TcpStream::connect(world.address()).await.unwrap();
    let _ = stream.write_all(first).await;
    let mut said = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut said)).await;
    read.is_ok() && said.is_empty()
}

async fn logs_in_as(world: &World, header: &[u8], address: &str) {
    let mut stream = TcpStream::connect(world.address()).await.unwrap();
    stream.write_all(header).await.unwrap();
    let mut client = client::over(stream).await;
    assert!(client.authenticate_password(USER, PASSWORD).await.unwrap().success());
    let state = world.cluster.state();
    let remotes: Vec<String> =
        state.user_sessions(&crate::world::name(USER)).map(|session| session.remote.clone()).collect();
    assert!(remotes.iter().any(|remote| remote.starts_with(address)), "{remotes:?}");
}

#[tokio::test]
async fn the_client_that_a_proxy_names_is_the_sessions_address() {
    let world = world("127.0.0.0/8").await;
    logs_in_as(&world, b"PROXY TCP4 203.0.113.7 192.0.2.1 54321 22\r\n", "203.0.113.7").await;
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([203, 0, 113, 8, 192, 0, 2, 1, 0xd4, 0x31, 0, 22]);
    logs_in_as(&world, &v2, "203.0.113.8").await;
    logs_in_as(&world, b"PROXY UNKNOWN\r\n", "127.0.0.1").await;
}

#[tokio::test]
async fn a_connection_without_a_header_or_from_elsewhere_is_closed() {
    let trusting = world("127.0.0.0/8").await;
    assert!(is_closed_silently(&trusting, b"SSH-2.0-client\r\n").await);
    assert!(is_closed_silently(&trusting, b"").await, "the header has a deadline");
    let suspicious = world("10.0.0.0/8").await;
    assert!(is_closed_silently(&suspicious, b"PROXY TCP4 203.0.113.7 192.0.2.1 54321 22\r\n").await);
}

/// A proxy's health checks come from the address behind which all its clients stand.
#[tokio::test]
async fn a_proxys_own_connections_are_neither_penalised_nor_refused() {
    let world = World::with(|config| {
        config.listen = vec![Listen { address: ([127, 0, 0, 1], 0).into(), proxy_protocol: ProxyProtocol::Required }];
        config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        let hour = Duration::from_secs(3600);
        config.limits.penalties =
            PenaltyRules { no_auth: hour, least: hour, most: hour, exempt: Vec::new(), ..Default::default() };
    })
    .await;
    let greeted = async |header: &[u8]| {
        let mut tcp = TcpStream::connect(world.address()).await.unwrap();
        tcp.write_all(header).await.unwrap();
        let mut greeting = [0; 4];
        let greeted = tcp.read_exact(&mut greeting).await.is_ok() && &greeting == b"SSH-";
        drop(tcp);
        eventually("the connection is over", || world.handle.connections() == 0).await;
        greeted
    };
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for header in [&local[..], b"PROXY UNKNOWN\r\n"] {
        for _ in 0..2 {
            assert!(greeted(header).await, "it is not noted");
        }
    }
    let client = b"PROXY TCP4 127.0.0.1 192.0.2.1 54321 22\r\n";
    assert!(greeted(client).await);
    assert!(!greeted(client).await, "one connection without a login is too many here");
    assert!(greeted(local).await, "it is not refused");
}
