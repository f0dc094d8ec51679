//! The switch of a machine without namespaces: a cut holds one direction back, its end lets it go on.

use std::net::SocketAddr;
use std::time::Duration;

use flotilla_jepsen::net::switch::Switch;
use flotilla_jepsen::net::{Cut, Cuts, Plane};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Answers every byte with itself.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reads, mut writes) = stream.split();
                let _ = tokio::io::copy(&mut reads, &mut writes).await;
            });
        }
    });
    address
}

async fn answer(stream: &mut TcpStream, limit: Duration) -> bool {
    let mut byte = [0];
    matches!(tokio::time::timeout(limit, stream.read_exact(&mut byte)).await, Ok(Ok(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_plane_and_direction_is_cut_alone_and_goes_on_afterwards() {
    let real = echo().await;
    let first_port = 31_000 + (std::process::id() % 500) as u16;
    let switch = Switch::build(2, first_port, |_, _| real).await.unwrap();
    let long = Duration::from_secs(10);
    let mut clients = TcpStream::connect(switch.address(Plane::Clients, 1)).await.unwrap();
    let mut peers = TcpStream::connect(switch.peer_door(2, 1)).await.unwrap();
    for stream in [&mut clients, &mut peers] {
        stream.write_all(b"a").await.unwrap();
        assert!(answer(stream, long).await);
    }
    for direction in [(2, 1), (1, 2)] {
        switch.cut(&Cuts::from([Cut { plane: Plane::Peers, from: direction.0, to: direction.1 }]));
        peers.write_all(b"b").await.unwrap();
        clients.write_all(b"b").await.unwrap();
        assert!(answer(&mut clients, long).await, "another plane is not cut");
        assert!(!answer(&mut peers, Duration::from_millis(200)).await, "{direction:?} is cut");
        switch.cut(&Cuts::new());
        assert!(answer(&mut peers, long).await, "what was held back arrives after the cut");
    }
}
