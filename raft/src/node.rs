//! Starts and stops a node of the replicated core, on threads of its own that touch no user file.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::core::{self, Core};
use crate::folder::{Folder, FolderError};
use crate::handle::Handle;
use crate::machine::Machine;
use crate::manage::Manager;
use crate::net::{Calls, DeskSlot, Introduction, NetworkFactory, PeerMemory, PeerServer, PeerService, Peers, Tls};
use crate::roster::Rosters;
use crate::shared::Shared;
use crate::store::LogStore;
use crate::{engine, members, priority};

/// Leadership moves away within this time when a node stops.
const TRANSFER_WITHIN: Duration = Duration::from_secs(3);

/// Why a node does not start. The texts hold their causes, which are no sources: who prints a whole chain would say them twice.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("log store: {0}")]
    Store(io::Error),
    #[error("peer certificates: {0}")]
    Tls(String),
    #[error("peer listener {0}: {1}")]
    Listen(SocketAddr, io::Error),
    #[error("engine settings: {0}")]
    Settings(String),
    #[error("engine: {0}")]
    Engine(String),
    #[error("threads: {0}")]
    Threads(io::Error),
}

/// A running node. Dropped, it stops at once, as if the process had been killed; `shutdown` stops in order.
pub struct RaftNode {
    handle: Handle,
    peer_address: SocketAddr,
    stop: CancellationToken,
    /// `Some` until it is stopped. Consensus, network and store.
    engine: Option<Runtime>,
    /// `Some` until it is stopped. Renewals and the leader's duty.
    leases: Option<Runtime>,
}

impl RaftNode {
    /// Starts on the configured address.
    pub async fn start(config: Config) -> Result<(RaftNode, Handle), StartError> {
        let listener = StdListener::bind(config.listen).map_err(|error| StartError::Listen(config.listen, error))?;
        Self::start_on(config, listener).await
    }

    /// Starts on a socket that is bound already, so that ports can be known before nodes are.
    pub async fn start_on(config: Config, listener: StdListener) -> Result<(RaftNode, Handle), StartError> {
        let engine = runtime("flotilla-raft", 2)?;
        let leases = runtime("flotilla-lease", 1)?;
        let started = engine.spawn(start(config, listener, leases.handle().clone())).await;
        let started = started.unwrap_or_else(|error| Err(StartError::Engine(error.to_string())));
        match started {
            Ok(parts) => {
                let handle = parts.handle.clone();
                let node = RaftNode {
                    handle: parts.handle,
                    peer_address: parts.peer_address,
                    stop: parts.stop,
                    engine: Some(engine),
                    leases: Some(leases),
                };
                Ok((node, handle))
            }
            Err(error) => {
                engine.shutdown_background();
                leases.shutdown_background();
                Err(error)
            }
        }
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    pub fn peer_address(&self) -> SocketAddr {
        self.peer_address
    }

    /// Hands leadership over, stops the engine and returns when its store is closed.
    pub async fn shutdown(mut self) {
        self.handle.transfer_leadership(TRANSFER_WITHIN).await;
        let raft = self.handle.raft.clone();
        if let Some(engine) = &self.engine {
            let _ = engine.spawn(async move { raft.shutdown().await.is_ok() }).await;
        }
        self.stop_threads();
    }

    fn stop_threads(&mut self) {
        self.stop.cancel();
        if let Some(lease) = self.handle.shared.lease.borrow().as_ref() {
            lease.kill();
        }
        for runtime in [self.leases.take(), self.engine.take()].into_iter().flatten() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for RaftNode {
    fn drop(&mut self) {
        self.stop_threads();
    }
}

fn runtime(name: &str, threads: usize) -> Result<Runtime, StartError> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(8)
        .thread_name(name)
        .on_thread_start(priority::raise)
        .enable_all()
        .build()
        .map_err(StartError::Threads)
}

struct Parts {
    handle: Handle,
    peer_address: SocketAddr,
    stop: CancellationToken,
}

async fn start(config: Config, listener: StdListener, leases: tokio::runtime::Handle) -> Result<Parts, StartError> {
    let listen = |error| StartError::Listen(config.listen, error);
    listener.set_nonblocking(true).map_err(listen)?;
    let listener = TcpListener::from_std(listener).map_err(listen)?;
    let peer_address = listener.local_addr().map_err(listen)?;
    let settings = engine::config(&config).map_err(StartError::Settings)?;
    let tls = Tls::new(&config.cluster_id, &config.ca_pem, &config.certificate_pem, &config.key_pem)
        .map_err(|error| StartError::Tls(error.to_string()))?;
    let folder = Arc::new(Folder::open(&config.data_dir, &config.cluster_id, config.node)?);
    let log = LogStore::open_chosen(config.store, &folder.log_dir(), Arc::clone(&folder)).map_err(StartError::Store)?;
    let rosters = Rosters::open(&config.cluster_id, &folder.roster_file(), config.first_roster())?;
    let addresses = rosters.now().members.iter().map(|(node, member)| (*node, member.address.clone())).collect();
    let start = folder.start().counter;
    let shared = Shared::new(config.node, start, Arc::clone(&config.clock), Arc::clone(&rosters));
    let machine = Machine::open(&folder.snapshot_dir(), Arc::clone(&shared)).map_err(StartError::Store)?;
    let us = Arc::new(Introduction {
        cluster_id: config.cluster_id.clone(),
        node: config.node,
        start: folder.start().clone(),
        log: log.shown(),
        memory: Arc::new(PeerMemory::open(&folder.peers_file())?),
        rosters: Arc::clone(&rosters),
        voucher: config.voucher.clone(),
        refused: watch::Sender::new(None),
        told: Default::default(),
    });
    let runtime = tokio::runtime::Handle::current();
    let route = Arc::clone(&config.route);
    let peers = Peers::new(tls.clone(), Arc::clone(&us), config.timing.connect, addresses, route, runtime.clone());
    let network = NetworkFactory { peers: Arc::clone(&peers), call_within: config.timing.call };
    let stop = CancellationToken::new();
    let calls: Arc<dyn Calls> = Arc::clone(&peers) as Arc<dyn Calls>;
    let start = folder.start().clone();
    let parts = core::Parts { settings, shared: Arc::clone(&shared), log, machine, calls, leases, start };
    let core = Core::start(&config, parts, network).await?;
    let desk = DeskSlot::default();
    let manager = Manager {
        raft: core.raft.clone(),
        shared: Arc::clone(&shared),
        desk: Arc::clone(&desk),
        drain: Arc::new(watch::Sender::new(false)),
    };
    let service = PeerService {
        core: core.clone(),
        start: folder.start().clone(),
        snapshot_dir: folder.snapshot_dir(),
        received: Arc::new(AtomicU64::new(0)),
        manager: manager.clone(),
    };
    let server = PeerServer { tls: tls.clone(), us, service, desk, stop: stop.clone() };
    tokio::spawn(server.run(listener));
    tokio::spawn(Arc::clone(&peers).keep_connected(Arc::clone(&rosters)));
    tokio::spawn(rosters.keep());
    tokio::spawn(members::follow_roster(Arc::clone(&shared), Arc::clone(&peers)));
    let Core { raft, proposer, reads, .. } = core;
    let handle = Handle { shared, raft, proposer, reads, peers, runtime, tls, manager };
    Ok(Parts { handle, peer_address, stop })
}
