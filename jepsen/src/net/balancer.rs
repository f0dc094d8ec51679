//! A TCP balancer in front of the nodes, as operators have one: new connections go in turn to the nodes whose `/readyz` says 200.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::cluster::Fleet;

const LOOK: Duration = Duration::from_millis(250);
const CONNECT: Duration = Duration::from_secs(1);

/// Ends with its last handle.
pub struct Balancer {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Balancer {
    /// Listens on a port that the kernel chooses.
    pub async fn start(fleet: Arc<Fleet>) -> Result<Balancer> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("the balancer's port")?;
        let address = listener.local_addr()?;
        let ready: Arc<Vec<AtomicBool>> = Arc::new(fleet.places().map(|_| AtomicBool::new(true)).collect());
        let mut tasks = JoinSet::new();
        for place in fleet.places() {
            let (fleet, ready) = (Arc::clone(&fleet), Arc::clone(&ready));
            tasks.spawn(async move {
                loop {
                    ready[place - 1].store(fleet.is_ready(place).await, Ordering::Release);
                    tokio::time::sleep(LOOK).await;
                }
            });
        }
        let nodes: Vec<SocketAddr> = fleet.places().map(|place| fleet.sftp(place)).collect();
        tasks.spawn(accept(listener, nodes, ready));
        Ok(Balancer { address, _tasks: tasks })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, nodes: Vec<SocketAddr>, ready: Arc<Vec<AtomicBool>>) {
    let (nodes, turn) = (Arc::new(nodes), Arc::new(AtomicUsize::new(0)));
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let (nodes, ready, turn) = (Arc::clone(&nodes), Arc::clone(&ready), Arc::clone(&turn));
                open.spawn(async move { hand_on(client, &nodes, &ready, &turn).await });
            }
            Some(_) = open.join_next() => {}
        }
    }
}

/// To the next node that is ready and takes the connection; to none, the client's connection is closed.
async fn hand_on(mut client: TcpStream, nodes: &[SocketAddr], ready: &[AtomicBool], turn: &AtomicUsize) {
    let first = turn.fetch_add(1, Ordering::AcqRel);
    let order = (0..nodes.len()).map(|step| (first + step) % nodes.len());
    for at in order.filter(|at| ready[*at].load(Ordering::Acquire)) {
        if let Ok(Ok(mut node)) = tokio::time::timeout(CONNECT, TcpStream::connect(nodes[at])).await {
            let _ = (client.set_nodelay(true), node.set_nodelay(true));
            let _ = tokio::io::copy_bidirectional(&mut client, &mut node).await;
            return;
        }
    }
}
