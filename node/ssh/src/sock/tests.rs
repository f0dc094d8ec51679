//! The socket against a plain TCP peer.

use std::time::Duration;

use flotilla_session::{Connection, EndReason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

async fn pair(grace: Duration, handshake_bytes: usize) -> (Arc<Connection>, Arc<Wire>, Sock, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let client = TcpStream::connect(address).await.expect("it listens");
    let (server, remote) = listener.accept().await.expect("the client is there");
    let connection = Connection::new(remote, address);
    let wire = Wire::new(server, Arc::clone(&connection), Instant::now() + grace);
    let sock = Sock::new(Arc::clone(&wire), Vec::new(), handshake_bytes);
    (connection, wire, sock, client)
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_behind_what_it_sent_and_one_that_stays_is_not() {
    let (_connection, wire, _sock, mut client) = pair(PATIENCE, 1000).await;
    client.write_all(b"nobody reads this").await.expect("it is open");
    assert!(timeout(Duration::from_millis(300), wire.client_left()).await.is_err());
    drop(client);
    timeout(PATIENCE, wire.client_left()).await.expect("it is noticed");
}

#[tokio::test]
async fn a_cut_wakes_the_reader_and_no_write_starts_after_it() {
    let (connection, wire, mut sock, mut client) = pair(PATIENCE, 1000).await;
    let reading = tokio::spawn(async move {
        let mut byte = [0u8; 1];
        let read = sock.read(&mut byte).await;
        (read, sock)
    });
    tokio::task::yield_now().await;
    connection.gate().cut(EndReason::Drained);
    let (read, mut sock) = timeout(PATIENCE, reading).await.expect("the reader is woken").expect("it does not panic");
    assert!(read.is_err());
    assert!(sock.write(b"late").await.is_err());
    drop(sock);
    timeout(PATIENCE, wire.dead()).await.expect("the stream is dead");
    let mut got = Vec::new();
    let end = timeout(PATIENCE, client.read_to_end(&mut got)).await.expect("the client hears of it");
    assert!(end.is_err() && got.is_empty(), "a reset, and nothing before it: {end:?} {got:?}");
}

#[tokio::test]
async fn the_grace_time_ends_a_read_and_a_blocked_write() {
    let (_connection, _wire, mut sock, client) = pair(Duration::from_millis(200), 1000).await;
    let flood = vec![0u8; 16 << 20];
    let written = timeout(PATIENCE, sock.write_all(&flood)).await.expect("the write ends");
    assert_eq!(written.expect_err("nobody reads").kind(), io::ErrorKind::TimedOut);
    drop(client);
    let (_connection, _wire, mut sock, _client) = pair(Duration::from_millis(200), 1000).await;
    let read = timeout(PATIENCE, sock.read_u8()).await.expect("the read ends");
    assert_eq!(read.expect_err("nobody writes").kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn too_many_bytes_before_the_login_end_the_connection() {
    let (_connection, _wire, mut sock, mut client) = pair(PATIENCE, 1000).await;
    client.write_all(&[7; 4000]).await.expect("it is open");
    let mut all = Vec::new();
    let read = timeout(PATIENCE, sock.read_to_end(&mut all)).await.expect("the read ends");
    assert_eq!(read.expect_err("4000 are too many").kind(), io::ErrorKind::QuotaExceeded);
}

#[tokio::test]
async fn after_a_shutdown_the_stream_is_dead_at_once_and_only_a_goodbye_waits_for_the_client() {
    let (_connection, wire, mut sock, _client) = pair(PATIENCE, 1000).await;
    sock.shutdown().await.expect("it does not fail");
    timeout(PATIENCE, wire.dead()).await.expect("dead at the shutdown");
    let start = Instant::now();
    assert_eq!(sock.read(&mut [0; 8]).await.expect("an end"), 0);
    assert!(start.elapsed() < Duration::from_secs(1));

    let (_connection, wire, mut sock, mut client) = pair(PATIENCE, 1000).await;
    wire.say_goodbye();
    sock.write_all(b"goodbye").await.expect("it is open");
    sock.shutdown().await.expect("it does not fail");
    let start = Instant::now();
    assert_eq!(timeout(PATIENCE, sock.read(&mut [0; 8])).await.expect("bounded").expect("an end"), 0);
    assert!(start.elapsed() >= read::GOODBYE);
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.expect("a normal end");
    assert_eq!(got, b"goodbye");
}
