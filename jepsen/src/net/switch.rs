//! The degraded network of a machine without namespaces: nodes share loopback, a relay of our own stands in each direction.
//!
//! A cut holds the bytes of its direction back, as a network that loses packets does to TCP; when it ends they go on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Cut, Cuts, Place, Plane};

/// Relays between each two nodes for the peers, and from the controller to each node for the other planes.
pub struct Switch {
    cuts: watch::Sender<Arc<Cuts>>,
    doors: BTreeMap<(Plane, Place, Place), SocketAddr>,
    relays: tokio::task::JoinSet<()>,
}

impl Switch {
    /// Opens a door in front of each listener. `listeners` gives where a node's plane really listens.
    pub async fn build(
        nodes: usize,
        first_port: u16,
        listeners: impl Fn(Plane, Place) -> SocketAddr,
    ) -> Result<Switch> {
        let cuts = watch::Sender::new(Arc::new(Cuts::new()));
        let mut switch = Switch { cuts, doors: BTreeMap::new(), relays: tokio::task::JoinSet::new() };
        let mut port = first_port;
        for to in 1..=nodes {
            let peers = (1..=nodes).filter(|from| *from != to).map(|from| (Plane::Peers, from));
            for (plane, from) in peers.chain([(Plane::Clients, 0), (Plane::Admin, 0)]) {
                let door = SocketAddr::from(([127, 0, 0, 1], port));
                port += 1;
                let listener = TcpListener::bind(door).await.with_context(|| format!("switch port {door}"))?;
                switch.doors.insert((plane, from, to), door);
                let there = Cut { plane, from, to };
                switch.relays.spawn(serve(listener, listeners(plane, to), there, switch.cuts.subscribe()));
            }
        }
        Ok(switch)
    }

    pub fn cut(&self, cuts: &Cuts) {
        self.cuts.send_replace(Arc::new(cuts.clone()));
    }

    /// The controller's door to a node.
    pub fn address(&self, plane: Plane, node: Place) -> SocketAddr {
        self.doors[&(plane, 0, node)]
    }

    /// A node's door to another.
    pub fn peer_door(&self, from: Place, to: Place) -> SocketAddr {
        self.doors[&(Plane::Peers, from, to)]
    }
}

type Watch = watch::Receiver<Arc<Cuts>>;

async fn serve(listener: TcpListener, to: SocketAddr, there: Cut, cuts: Watch) {
    let back = Cut { from: there.to, to: there.from, ..there };
    let mut open = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                open.spawn(relay(stream, to, there, back, cuts.clone()));
            }
            Some(_) = open.join_next() => {}
        }
    }
}

async fn relay(from: TcpStream, to: SocketAddr, there: Cut, back: Cut, mut cuts: Watch) {
    if passes(&mut cuts, there).await.is_err() || passes(&mut cuts, back).await.is_err() {
        return;
    }
    let Ok(to) = TcpStream::connect(to).await else { return };
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    let (from_reads, from_writes) = from.into_split();
    let (to_reads, to_writes) = to.into_split();
    tokio::join!(pump(from_reads, to_writes, there, cuts.clone()), pump(to_reads, from_writes, back, cuts));
}

/// Waits while a direction is cut.
async fn passes(cuts: &mut Watch, direction: Cut) -> Result<(), watch::error::RecvError> {
    cuts.wait_for(|cuts| !cuts.contains(&direction)).await.map(drop)
}

/// Ends with the stream, or when either side is gone.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, direction: Cut, mut cuts: Watch) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if passes(&mut cuts, direction).await.is_err() || to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    let _ = passes(&mut cuts, direction).await;
    let _ = to.shutdown().await;
}
