//! A simulated node: the product's core on a runtime of its own, whose time the simulation moves.
//!
//! A kill drops the runtime with all its tasks, as the kernel drops a process. A pause lets it stand while the others run on;
//! afterwards its time jumps, and everything that was due happens at once.

mod deliver;
mod start;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deliver::Delivery;
use flotilla_cluster::{Clock, Clocks};
use flotilla_model::{NodeId, WallTime};
use flotilla_raft::testing::simulation::{Core, Start};
use flotilla_raft::{Config, PeerAddress};
use start::Starting;
use tokio::runtime::{Builder, RngSeed, Runtime};
use tokio::time::Instant;

use crate::agent::Sessions;
use crate::disk::Disk;
use crate::net::Net;
use crate::oracle::Oracle;
use crate::rng::Rng;

/// 2026-11-26, in ms: where the simulated wall clocks begin.
pub const WALL: u64 = 1_795_000_000_000;

/// How a node stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// SIGSTOP: its clocks go on.
    Stop,
    /// Suspend: CLOCK_BOOTTIME goes on, the others stand.
    Suspend,
}

#[derive(Default)]
pub struct SimClock {
    boot: AtomicU64,
    raw: AtomicU64,
    wall: AtomicU64,
}

impl Clock for SimClock {
    fn now(&self) -> Clocks {
        Clocks { boot: self.boot.load(Ordering::Relaxed), raw: self.raw.load(Ordering::Relaxed) }
    }

    fn wall(&self) -> WallTime {
        WallTime(self.wall.load(Ordering::Relaxed))
    }
}

/// What all nodes share.
#[derive(Clone)]
pub struct World {
    pub net: Net,
    pub oracle: Arc<Oracle>,
    pub nodes: u64,
    pub snapshot_entries: u64,
    pub keep_entries: u64,
}

/// What a running process has.
struct Process {
    runtime: Runtime,
    core: Arc<Mutex<Option<Core>>>,
    sessions: Arc<Sessions>,
    began: Instant,
    /// The node's own ms at its start.
    started: u64,
}

pub struct Node {
    pub id: u64,
    world: World,
    pub disk: Arc<Disk>,
    dir: PathBuf,
    clock: Arc<SimClock>,
    rng: Rng,
    /// Parts per million that its clocks run faster than the simulation.
    rate: i64,
    /// Its own ms, as its runtime counts them, and what the others are ahead of that.
    local: u64,
    boot_ahead: u64,
    wall_ahead: i64,
    /// Global ms that count for it: stands during a suspend.
    lived: u64,
    starts: u64,
    identity: u128,
    process: Option<Process>,
    pub paused: Option<Pause>,
    owed: u64,
    snapshots: Arc<AtomicU64>,
    wants_ops: Arc<AtomicBool>,
}

impl Node {
    pub fn new(id: u64, world: World, dir: &Path, mut rng: Rng, wants_ops: Arc<AtomicBool>) -> Self {
        let rate = rng.between(0, 20_000) as i64 - 10_000;
        let identity = u128::from(rng.number()) << 64 | u128::from(rng.number());
        let wall_ahead = rng.between(0, 4_000) as i64 - 2_000;
        let disk = Disk::new(rng.fork());
        let clock = Arc::new(SimClock::default());
        // Clocks of different machines have nothing in common.
        let local = rng.below(1_000_000);
        let dir = dir.join(format!("node{id}"));
        Node {
            id,
            world,
            disk,
            dir,
            clock,
            rng,
            rate,
            local,
            boot_ahead: 0,
            wall_ahead,
            lived: 0,
            starts: 0,
            identity,
            process: None,
            paused: None,
            owed: 0,
            snapshots: Arc::default(),
            wants_ops,
        }
    }

    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    pub fn runs(&self) -> bool {
        self.is_up() && self.paused.is_none()
    }

    /// How many processes it has had.
    pub fn starts(&self) -> u64 {
        self.starts
    }

    /// The core, once the process has opened its store.
    pub fn core(&self) -> Option<Core> {
        self.process.as_ref()?.core.lock().expect("no panic while the core is set").clone()
    }

    /// Looks at the core without keeping it.
    pub fn with_core<T>(&self, look: impl FnOnce(&Core) -> T) -> Option<T> {
        self.process.as_ref()?.core.lock().expect("no panic while the core is set").as_ref().map(look)
    }

    /// The term in which it says that it leads.
    pub fn leads(&self) -> Option<u64> {
        let leads = |core: &Core| {
            let leadership = core.shared.leadership.borrow();
            (leadership.leader.map(|leader| leader.0) == Some(self.id)).then_some(leadership.term)
        };
        self.with_core(leads).flatten()
    }

    pub fn sessions(&self) -> Option<&Arc<Sessions>> {
        self.process.as_ref().map(|process| &process.sessions)
    }

    pub fn runtime(&self) -> Option<&Runtime> {
        self.process.as_ref().map(|process| &process.runtime)
    }

    pub fn clocks(&self) -> Clocks {
        self.clock.now()
    }

    fn config(&self) -> Config {
        let listen = "127.0.0.1:1".parse().expect("an address");
        let mut config = Config::new(NodeId(self.id), "simulation", self.dir.clone(), listen);
        let peer = |node: u64| PeerAddress {
            name: format!("n{node}"),
            peer: format!("n{node}:1"),
            admin: format!("n{node}:2"),
            sftp: format!("n{node}:3"),
            public_key: vec![node as u8],
        };
        config.peers = (1..=self.world.nodes).map(|node| (NodeId(node), peer(node))).collect::<BTreeMap<_, _>>();
        config.clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        config.snapshot_entries = self.world.snapshot_entries;
        config.keep_entries = self.world.keep_entries;
        config
    }

    /// Starts a process on what its disk holds.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "one process per node");
        self.starts += 1;
        let seed = self.rng.number();
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .rng_seed(RngSeed::from_bytes(&seed.to_le_bytes()))
            .build()
            .expect("a runtime");
        let nonce = u128::from(self.rng.number());
        let start = Start { identity: self.identity, counter: self.starts, nonce };
        let core: Arc<Mutex<Option<Core>>> = Arc::default();
        let sessions = Sessions::new(self.id, Arc::clone(&self.world.oracle), self.rng.fork());
        let began = runtime.block_on(async { Instant::now() });
        let starting = Starting {
            config: self.config(),
            start,
            disk: Arc::clone(&self.disk),
            snapshot_dir: self.dir.join(format!("snapshots{}", self.id)),
            world: self.world.clone(),
            core: Arc::clone(&core),
            sessions: Arc::clone(&sessions),
            wants_ops: Arc::clone(&self.wants_ops),
        };
        self.world.oracle.started(self.id, self.starts);
        runtime.spawn(starting.run());
        self.owed = 0;
        self.process = Some(Process { runtime, core, sessions, began, started: self.local });
    }

    /// SIGKILL: everything of the process is gone at once, what it wrote stays.
    pub fn kill(&mut self) {
        let Some(process) = self.process.take() else { return };
        drop(process.core.lock().expect("no panic while the core is set").take());
        process.sessions.end();
        drop(process.runtime);
        self.paused = None;
        self.disk.process_ended();
        self.world.net.process_ended(self.id);
    }

    /// The power goes.
    pub fn power_cut(&mut self) {
        self.kill();
        self.disk.power_cut();
    }

    /// One global ms passes.
    pub fn tick(&mut self, now: u64) {
        let before = self.local;
        if self.paused != Some(Pause::Suspend) {
            self.lived += 1;
            self.local += 1;
            // A clock that runs fast or slow gains or loses one ms now and then.
            let every = 1_000_000_u64.checked_div(self.rate.unsigned_abs()).unwrap_or(0);
            if every > 0 && self.lived.is_multiple_of(every) {
                self.local = if self.rate > 0 { self.local + 1 } else { self.local - 1 };
            }
        } else {
            self.boot_ahead += 1;
        }
        let passed = self.local - before;
        match self.paused {
            Some(Pause::Stop) => return self.owed += passed,
            // Nothing reaches a machine that sleeps, and nobody keeps it.
            Some(Pause::Suspend) => return drop(self.world.net.arrivals(self.id)),
            None => {}
        }
        self.set_clock(now);
        let arrivals = self.world.net.arrivals(self.id);
        let ready = if arrivals.is_empty() { None } else { self.core() };
        let Some(process) = &self.process else {
            arrivals.into_iter().for_each(|packet| self.world.net.refuse(self.id, packet));
            return;
        };
        let until = process.began + Duration::from_millis(self.local - process.started);
        let jump = std::mem::take(&mut self.owed);
        let timers_first = jump > 0 && self.rng.permille(500);
        let delivery = Delivery {
            id: self.id,
            net: self.world.net.clone(),
            core: ready,
            snapshots: &self.snapshots,
            dir: &self.dir,
        };
        process.runtime.block_on(async {
            if jump > 0 {
                tokio::time::advance(Duration::from_millis(jump)).await;
            }
            if timers_first {
                for _ in 0..64 {
                    tokio::task::yield_now().await;
                }
            }
            for packet in arrivals {
                delivery.take(packet);
            }
            tokio::time::sleep_until(until).await;
            tokio::task::yield_now().await;
        });
    }

    fn set_clock(&self, now: u64) {
        const NS: u64 = 1_000_000;
        self.clock.raw.store(self.local * NS, Ordering::Relaxed);
        self.clock.boot.store((self.local + self.boot_ahead) * NS, Ordering::Relaxed);
        let wall = (WALL + now).saturating_add_signed(self.wall_ahead);
        self.clock.wall.store(wall, Ordering::Relaxed);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
