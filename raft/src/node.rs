//! Starts and stops a node of the replicated core, on threads of its own that touch no user file.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flotilla_model::NodeId;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::folder::{Folder, FolderError};
use crate::handle::Handle;
use crate::lease::{LeaderDuty, LeaseKeeper};
use crate::machine::Machine;
use crate::manage::Manager;
use crate::members::MemberDuty;
use crate::net::{DeskSlot, Introduction, NetworkFactory, PeerMemory, PeerServer, PeerService, Peers, Tls};
use crate::propose::{LeaderQueue, Proposer};
use crate::quorum::QuorumLog;
use crate::read::Reads;
use crate::roster::Rosters;
use crate::shared::{Leadership, Shared};
use crate::store::LogStore;
use crate::types::Raft;
use crate::{bootstrap, engine, members, metric, priority};

/// Renewals that may wait for the leader's duty: one per node and interval.
const RENEWALS: usize = 1_024;
/// Leadership moves away within this time when a node stops.
const TRANSFER_WITHIN: Duration = Duration::from_secs(3);

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("log store: {0}")]
    Store(#[source] io::Error),
    #[error("peer certificates: {0}")]
    Tls(String),
    #[error("peer listener {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    #[error("engine settings: {0}")]
    Settings(String),
    #[error("engine: {0}")]
    Engine(String),
    #[error("threads: {0}")]
    Threads(#[source] io::Error),
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
    let mut log = LogStore::open_sled(&folder.log_dir(), Arc::clone(&folder)).map_err(StartError::Store)?;
    let rosters = Rosters::open(&config.cluster_id, &folder.roster_file(), config.first_roster())?;
    let addresses = rosters.now().members.iter().map(|(node, member)| (*node, member.address.clone())).collect();
    let start = folder.start().counter;
    let shared = Shared::new(config.node, start, Arc::clone(&config.clock), Arc::clone(&rosters));
    let machine = Machine::open(&folder.snapshot_dir(), Arc::clone(&shared)).map_err(StartError::Store)?;
    if let Some(snapshot) = machine.snapshot_reaches().map_err(StartError::Store)? {
        log.covered_by(snapshot).await.map_err(StartError::Store)?;
    }
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
    let raft = Raft::new(config.node.0, settings, network, log, machine)
        .await
        .map_err(|error| StartError::Engine(error.to_string()))?;
    let stop = CancellationToken::new();
    follow_leadership(raft.clone(), Arc::clone(&shared), config.timing.election_max);
    watch_growth(raft.clone(), Arc::clone(&shared), config.snapshot_entries, config.snapshot_bytes);
    let (renewals, received) = mpsc::channel(RENEWALS);
    let proposer = Proposer {
        shared: Arc::clone(&shared),
        queue: LeaderQueue::spawn(raft.clone(), Arc::clone(&shared)),
        forwarder: crate::propose::Forwarder::new(Arc::clone(&peers), runtime.clone()),
        peers: Arc::clone(&peers),
        renewals,
    };
    let desk = DeskSlot::default();
    let manager = Manager {
        raft: raft.clone(),
        shared: Arc::clone(&shared),
        desk: Arc::clone(&desk),
        drain: Arc::new(watch::Sender::new(false)),
    };
    let service = PeerService {
        raft: raft.clone(),
        shared: Arc::clone(&shared),
        proposer: proposer.clone(),
        snapshot_dir: folder.snapshot_dir(),
        received: Arc::new(AtomicU64::new(0)),
        manager: manager.clone(),
    };
    let server = PeerServer { tls: tls.clone(), us, service, desk, stop: stop.clone() };
    tokio::spawn(server.run(listener));
    tokio::spawn(Arc::clone(&peers).keep_connected(Arc::clone(&rosters)));
    tokio::spawn(rosters.keep());
    tokio::spawn(members::follow_roster(Arc::clone(&shared), Arc::clone(&peers)));
    let duty = MemberDuty { raft: raft.clone(), shared: Arc::clone(&shared) };
    tokio::spawn(duty.run());
    let duty = LeaderDuty { shared: Arc::clone(&shared), queue: proposer.queue.clone(), renewals: received };
    leases.spawn(duty.run());
    let keeper = LeaseKeeper {
        shared: Arc::clone(&shared),
        proposer: proposer.clone(),
        start: folder.start().clone(),
        version: config.version.clone(),
    };
    leases.spawn(keeper.run());
    if config.bootstrap {
        bootstrap::initialise(&raft, &config).await.map_err(StartError::Engine)?;
        tokio::spawn(bootstrap::record(proposer.clone(), config.clone()));
    }
    let reads = Reads::spawn(raft.clone(), Arc::clone(&shared), Arc::clone(&peers), config.timing.refusal_round);
    let handle = Handle { shared, raft, proposer, reads, peers, runtime, tls, manager };
    Ok(Parts { handle, peer_address, stop })
}

/// Copies who leads from the engine's metrics into our own watch.
fn follow_leadership(raft: Raft, shared: Arc<Shared>, election_max: Duration) {
    tokio::spawn(async move {
        let mut changes = raft.server_metrics();
        let mut quorum = QuorumLog::new(raft.clone(), shared.node.0, election_max);
        loop {
            let (term, leader, voters) = {
                let now = changes.borrow_watched();
                let voters = now.membership_config.membership().voter_ids().count();
                (now.vote.leader_id.term, now.current_leader, voters)
            };
            let leadership = Leadership { term, leader: leader.map(NodeId) };
            let changed = shared.leadership.send_if_modified(|old| {
                let changed = *old != leadership;
                *old = leadership;
                changed
            });
            if changed {
                metric::leadership(term, leader);
                quorum.leadership(term, leader);
            }
            quorum.counts_on_others(leader, voters);
            note_caught_up(&raft, &shared);
            let changed = tokio::select! {
                changed = changes.changed() => changed,
                () = quorum.watch_answers() => continue,
            };
            if changed.is_err() {
                return note_failure(&raft, &shared);
            }
        }
    });
}

/// The engine has ended. A failed store stops it for good: nobody leads here any more, and the node says why.
fn note_failure(raft: &Raft, shared: &Shared) {
    let why = match &raft.metrics().borrow_watched().running_state {
        Ok(_) | Err(Fatal::Stopped) => return,
        Err(fatal) => fatal.to_string(),
    };
    tracing::error!(event = "consensus_failed", why, "consensus has stopped on this node");
    shared.failed.send_replace(Some(why));
    shared.leadership.send_modify(|leadership| leadership.leader = None);
}

/// After a start a node has caught up once it has applied what a leader of its time had committed.
fn note_caught_up(raft: &Raft, shared: &Arc<Shared>) {
    if shared.caught_up.load(Ordering::Acquire) || shared.leader().is_none() {
        return;
    }
    let (raft, shared) = (raft.clone(), Arc::clone(shared));
    tokio::spawn(async move {
        if raft.wait_for_recovery(Some(Duration::from_secs(60))).await.is_ok() {
            shared.caught_up.store(true, Ordering::Release);
        }
    });
}

/// Asks for a snapshot when the log has grown enough since the last one (the engine's own policy is off).
fn watch_growth(raft: Raft, shared: Arc<Shared>, entries: u64, bytes: u64) {
    tokio::spawn(async move {
        loop {
            shared.grown.notified().await;
            let grown = shared.grown_entries.load(Ordering::Relaxed) >= entries
                || shared.grown_bytes.load(Ordering::Relaxed) >= bytes;
            if grown {
                shared.snapshot_taken();
                if raft.trigger().snapshot().await.is_err() {
                    return;
                }
            }
        }
    });
}
