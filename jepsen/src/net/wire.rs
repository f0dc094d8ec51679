//! The wire between peers where the kernel has no netem: in front of each peer's listener stands a relay of ours, in the namespace of
//! the node that connects, so that cuts and losses hold for it as for the node itself. It delays, and flips bits.
//!
//! What is sent on one connection stays in order, as TCP would have it; connections overtake each other, since each piece is
//! held back for a time of its own. A flipped bit ends a TLS connection.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::bridge::{Bridge, ip, port};
use super::{Place, Plane};

/// Bytes that travel together, and how many such are on the wire of a connection.
const PIECE: usize = 16 << 10;
const ON_THE_WIRE: usize = 512;
/// Connections at one time.
const CONNECTIONS: usize = 512;
const CONNECT: Duration = Duration::from_secs(10);

/// What a node's wire does to what it sends to peers and hears from those that it connected to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quality {
    /// Least time on the way, in ms, and by how much it varies.
    pub delay_ms: u64,
    pub jitter_ms: u64,
    /// Of ten thousand pieces, those in which a bit is flipped.
    pub flipped: u32,
}

impl Quality {
    fn takes(self) -> Duration {
        Duration::from_millis(self.delay_ms + rand::rng().random_range(0..=self.jitter_ms))
    }

    fn damage(self, piece: &mut [u8]) {
        let mut random = rand::rng();
        if random.random_range(0..10_000) < self.flipped {
            let at = random.random_range(0..piece.len());
            piece[at] ^= 1 << random.random_range(0..8);
        }
    }
}

/// Where a node finds its wire to another: on its own loopback.
pub fn door(to: Place) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9_100 + to as u16))
}

/// The relays of all nodes. They end with this.
pub struct Wires {
    nodes: Vec<(Child, tokio::sync::Mutex<ChildStdin>)>,
}

impl Wires {
    pub fn lay(bridge: &Bridge, nodes: usize) -> Result<Wires> {
        let lay = |from: Place| {
            let mut wire = bridge.command(from, &std::env::current_exe()?);
            wire.arg("wire").args((1..=nodes).filter(|to| *to != from).map(|to| to.to_string()));
            let mut child = wire.stdin(Stdio::piped()).kill_on_drop(true).spawn().context("laying a wire")?;
            let input = child.stdin.take().context("a pipe was asked for")?;
            Ok((child, tokio::sync::Mutex::new(input)))
        };
        Ok(Wires { nodes: (1..=nodes).map(lay).collect::<Result<_>>()? })
    }

    /// From now on a node's wires are like this.
    pub async fn set(&self, node: Place, quality: Quality) -> Result<()> {
        let mut line = serde_json::to_vec(&quality)?;
        line.push(b'\n');
        let input = &self.nodes.get(node - 1).with_context(|| format!("node {node} has no wires"))?.1;
        input.lock().await.write_all(&line).await.with_context(|| format!("the wires of node {node}"))
    }
}

/// The relay's process: doors to these nodes, and a quality per line of standard input, until that ends.
pub async fn run(nodes: &[Place]) -> Result<()> {
    let quality = watch::Sender::new(Quality::default());
    let mut doors = tokio::task::JoinSet::new();
    for node in nodes {
        let listener = TcpListener::bind(door(*node)).await.with_context(|| format!("wire to node {node}"))?;
        doors.spawn(serve(listener, SocketAddr::from((ip(*node), port(Plane::Peers))), quality.subscribe()));
    }
    let input = std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned()?;
    let mut lines = BufReader::new(tokio::net::unix::pipe::Receiver::from_owned_fd(input)?).lines();
    while let Some(line) = lines.next_line().await? {
        quality.send_replace(serde_json::from_str(&line).with_context(|| line.clone())?);
    }
    Ok(())
}

/// Relays connections for as long as it is not dropped.
pub async fn serve(listener: TcpListener, to: SocketAddr, quality: watch::Receiver<Quality>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut open = tokio::task::JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((from, _)) = listener.accept().await else { continue };
        let quality = quality.clone();
        open.spawn(async move {
            relay(from, to, &quality).await;
            drop(place);
        });
    }
}

async fn relay(from: TcpStream, to: SocketAddr, quality: &watch::Receiver<Quality>) {
    let Ok(Ok(to)) = timeout(CONNECT, TcpStream::connect(to)).await else { return };
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    let (from_reads, from_writes) = from.into_split();
    let (to_reads, to_writes) = to.into_split();
    tokio::join!(pump(from_reads, to_writes, quality), pump(to_reads, from_writes, quality));
}

/// Ends with the stream once all of it has arrived, or when the other side takes no more.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, quality: &watch::Receiver<Quality>) {
    let (sender, mut wire) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WIRE);
    let send = async move {
        let (mut buffer, mut last) = (vec![0; PIECE], Instant::now());
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let now = *quality.borrow();
            let mut piece = buffer[..length].to_vec();
            now.damage(&mut piece);
            last = last.max(Instant::now() + now.takes());
            if sender.send((last, piece)).await.is_err() {
                return;
            }
        }
    };
    let arrive = async move {
        while let Some((due, piece)) = wire.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::pin!(arrive);
    tokio::select! {
        () = &mut arrive => {}
        () = send => arrive.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes back through a wire to somebody who says all again, and after how long.
    async fn through(quality: Quality, sent: &[u8]) -> (Vec<u8>, Duration) {
        let far = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (far_at, near_at) = (far.local_addr().unwrap(), near.local_addr().unwrap());
        let echo = async {
            let (mut stream, _) = far.accept().await.unwrap();
            let (mut reads, mut writes) = stream.split();
            tokio::io::copy(&mut reads, &mut writes).await.unwrap();
            writes.shutdown().await.unwrap();
        };
        let quality = watch::Sender::new(quality);
        let wire = tokio::spawn(serve(near, far_at, quality.subscribe()));
        let client = async {
            let began = Instant::now();
            let mut stream = TcpStream::connect(near_at).await.unwrap();
            stream.write_all(sent).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await.unwrap();
            (heard, began.elapsed())
        };
        let ((), heard) = tokio::join!(echo, client);
        wire.abort();
        heard
    }

    #[tokio::test]
    async fn a_wire_delays_each_way_and_keeps_the_order() {
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let quality = Quality { delay_ms: 40, jitter_ms: 20, flipped: 0 };
        let (heard, took) = through(quality, &sent).await;
        assert!(heard == sent, "{} of {} bytes", heard.len(), sent.len());
        assert!(took >= Duration::from_millis(80), "{took:?}");
    }

    #[tokio::test]
    async fn a_wire_flips_a_bit_of_each_piece_it_is_told_to() {
        let sent = vec![0; 200_000];
        let (heard, _) = through(Quality { flipped: 10_000, ..Quality::default() }, &sent).await;
        let flipped: u32 = heard.iter().map(|byte| byte.count_ones()).sum();
        assert!(heard.len() == sent.len() && flipped > 0, "{flipped} bits of {} bytes", heard.len());
    }
}
