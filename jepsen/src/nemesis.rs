//! Faults: chosen from a seed, in lanes that overlap, each written down, all of them undone at the end.

mod clock;
mod command;
mod disk;
mod flip;
mod network;
mod process;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cluster::Disk;
use crate::net::Cuts;
use crate::net::wire::Quality;
use crate::probe::Machine;
use crate::workload::World;

/// Nodes must be ready this long after the last fault, which includes leases that must run out first.
const RECOVERY: Duration = Duration::from_secs(60);

/// The faults by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// SIGKILL of one node, started again after a while.
    Kill,
    /// SIGKILL of the leader, started again before the others have noticed.
    FastRestart,
    /// SIGKILL of all nodes at once.
    KillAll,
    /// SIGSTOP of any node, of the leader, or of all but one, up to three lease times.
    Pause,
    /// SIGSTOP of a node that holds the slot of a waiting client, until another session serves in the freed slot.
    PauseHolder,
    /// Peers: one from the others, halves, the leader in the minority, a bridge, a ring, one direction.
    Partition,
    /// Clients and administration cannot reach a node, peers can.
    ClientsOnly,
    /// A share of all packets is lost.
    Loss,
    /// SIGTERM and start of one node after the other.
    Rolling,
    /// Leadership is moved by command.
    Transfer,
    /// A node is drained by command, ends, and is started again.
    Drain,
    /// A machine is removed from the cluster, with its disk lost or not, and another one joins in its place.
    Replace,
    /// One node away from its peers until the log that it lacks is purged, for less than a lease: it comes back by a snapshot, with its
    /// sessions still there.
    Behind,
    /// Snapshots every few hundred entries in all nodes, so that each that was away gets one; not made at a time but all the time.
    Snapshots,
    /// No room is left on a node's data folder, or on the storage.
    DiskFull,
    /// The machine of one node, or all machines at once, lose power: what was not synced is gone, names too.
    PowerCut,
    /// The storage and all machines at once lose power.
    StoragePowerCut,
    /// A sync of a node's disk fails once; the node must end, and its machine is started anew.
    SyncError,
    /// Bits of a node's files are flipped while it is down.
    FlippedBits,
    /// Each write and sync of a node's disk takes up to two seconds.
    SlowDisk,
    /// All TCP connections of one node, or of all, are reset, again and again.
    Resets,
    /// What peers say to each other is late by up to 400 ms, each piece by another time, so that connections overtake each other.
    Delay,
    /// Bits flip in what peers say to each other: TLS ends the connection.
    Corrupt,
    /// The wall clock of a node jumps by up to an hour, once or to and fro.
    WallClock,
}

/// Faults of different lanes overlap.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Process,
    Network,
}

impl Fault {
    fn lane(self) -> Lane {
        match self {
            Fault::Partition | Fault::ClientsOnly | Fault::Loss | Fault::Resets | Fault::Behind => Lane::Network,
            Fault::Delay | Fault::Corrupt => Lane::Network,
            _ => Lane::Process,
        }
    }

    /// What the machine must be able to do.
    pub fn needs(self) -> &'static [&'static str] {
        match self {
            Fault::Loss => &["namespaces", "bridge", "nft"],
            Fault::Resets => &["namespaces", "bridge", "resets"],
            Fault::Replace | Fault::FlippedBits | Fault::Delay | Fault::Corrupt => &["namespaces", "bridge"],
            Fault::DiskFull => &["namespaces", "tmpfs"],
            Fault::PowerCut | Fault::StoragePowerCut | Fault::SyncError | Fault::SlowDisk => &["fuse"],
            Fault::WallClock => &["faketime"],
            _ => &[],
        }
    }

    /// Log entries between snapshots that it wants: some seconds' worth, or less than a lease's.
    pub fn snapshot_entries(self) -> Option<u64> {
        match self {
            Fault::Behind => Some(20),
            Fault::Snapshots => Some(300),
            _ => None,
        }
    }

    /// The name in histories and reports.
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// Faults that this suite does not make yet, so that every run says so.
const NOT_BUILT: [(&str, &str); 3] = [
    (
        "clock rates",
        "libfaketime cannot turn the clocks that leases read; covered by raft's tests with its Clock trait",
    ),
    (
        "workloads W8 to W10 as such",
        "membership and rolling restarts are faults of every workload; W9 has nothing to test yet",
    ),
    ("a balancer in front of W1 to W6", "W10 has one of our own; jepsen/tests/it/balancer.rs has HAProxy in front"),
];

/// What of a wanted set of faults can be made, and why the rest cannot.
pub fn plan(wanted: &[Fault], machine: &Machine, namespaces: bool) -> (Vec<Fault>, Vec<(String, String)>) {
    let mut skipped: Vec<(String, String)> =
        NOT_BUILT.iter().map(|(name, why)| ((*name).to_owned(), (*why).to_owned())).collect();
    let mut made = Vec::new();
    for fault in wanted {
        let why = if !namespaces && fault.needs().contains(&"namespaces") {
            Some("the run uses loopback, where nodes have no network of their own".to_owned())
        } else {
            machine.lacks(fault.needs())
        };
        match why {
            Some(why) => skipped.push((fault.name(), why)),
            None => made.push(*fault),
        }
    }
    (made, skipped)
}

/// What a fault's code works with.
pub struct Nemesis {
    pub world: Arc<World>,
    pub random: StdRng,
    /// The cuts in force, shared by nothing else: only the network lane cuts.
    cuts: Cuts,
}

/// Makes faults until their time is over. Each lane takes its faults in turn, in an order that the seed decides.
pub async fn run(world: Arc<World>, faults: Vec<Fault>) {
    let mut lanes: BTreeMap<Lane, Vec<Fault>> = BTreeMap::new();
    // Snapshots are set up with the cluster.
    for fault in faults.into_iter().filter(|fault| *fault != Fault::Snapshots) {
        lanes.entry(fault.lane()).or_default().push(fault);
    }
    let tasks = lanes.into_iter().map(|(lane, faults)| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let random = StdRng::seed_from_u64(world.seed ^ (0xfa17 + lane as u64));
            let mut nemesis = Nemesis { world: Arc::clone(&world), random, cuts: Cuts::new() };
            let (mut bag, mut begun): (Vec<Fault>, bool) = (Vec::new(), false);
            while !world.faults_over() {
                let calm = Duration::from_millis(nemesis.random.random_range(1_500..5_000));
                world.pause_fault(calm).await;
                if world.faults_over() {
                    return;
                }
                // Without one of these a run that wants them decides nothing.
                let first = faults.iter().position(|fault| *fault == Fault::PauseHolder).filter(|_| !begun);
                begun = true;
                if bag.is_empty() {
                    bag = faults.clone();
                }
                let at = first.unwrap_or_else(|| nemesis.random.random_range(0..bag.len()));
                nemesis.make(bag.swap_remove(at)).await;
            }
        })
    });
    futures::future::join_all(tasks).await;
}

impl Nemesis {
    /// Makes one fault and undoes it, with a record of when and what.
    async fn make(&mut self, fault: Fault) {
        let world = Arc::clone(&self.world);
        let _alone = if fault.lane() == Lane::Network || fault == Fault::PauseHolder {
            Some(world.network_fault.lock().await)
        } else {
            None
        };
        if world.faults_over() {
            return;
        }
        let recorder = world.recorder.clone();
        let process = recorder.process();
        let open = recorder.invoke(process, &format!("nemesis.{}", fault.name()), Value::Null);
        let made = match fault {
            Fault::Kill => self.kill().await,
            Fault::FastRestart => self.fast_restart().await,
            Fault::KillAll => self.kill_all().await,
            Fault::Pause => self.pause().await,
            Fault::PauseHolder => self.pause_holder().await,
            Fault::Rolling => self.rolling().await,
            Fault::Partition => self.partition().await,
            Fault::ClientsOnly => self.clients_only().await,
            Fault::Loss => self.loss().await,
            Fault::Transfer => self.transfer().await,
            Fault::Drain => self.drain().await,
            Fault::Replace => self.replace().await,
            Fault::DiskFull => self.disk_full().await,
            Fault::PowerCut => self.power_cut().await,
            Fault::StoragePowerCut => self.storage_power_cut().await,
            Fault::SyncError => self.sync_error().await,
            Fault::SlowDisk => self.slow_disk().await,
            Fault::Resets => self.resets().await,
            Fault::FlippedBits => self.flipped_bits().await,
            Fault::Behind => self.behind().await,
            Fault::Delay => self.delay().await,
            Fault::Corrupt => self.corrupt().await,
            Fault::WallClock => self.wall_clock().await,
            Fault::Snapshots => Ok(None),
        };
        match made {
            Ok(Some(what)) => _ = open.ok(what),
            // Nothing to do it to at this moment, for instance no holder of a slot.
            Ok(None) => _ = open.fail("no target"),
            Err(error) => _ = open.info(format!("{error:#}")),
        }
    }

    fn seconds(&mut self, from: f64, to: f64) -> Duration {
        Duration::from_secs_f64(self.random.random_range(from..to))
    }

    fn any_node(&mut self) -> usize {
        self.random.random_range(1..=self.world.fleet.size())
    }

    fn choose<T: Copy>(&mut self, from: &[T]) -> Result<T> {
        from.choose(&mut self.random).copied().context("nothing to choose from")
    }
}

/// Undoes everything: all connections, all processes; then all nodes must become ready by themselves.
pub async fn recover(world: &World) -> Result<()> {
    let fleet = &world.fleet;
    fleet.network.cut(&Cuts::new()).await?;
    for (node, wires) in fleet.places().filter_map(|node| Some((node, fleet.wires.as_ref()?))) {
        wires.set(node, Quality::default()).await?;
    }
    for node in fleet.places() {
        fleet.set_wall_clock(node, 0)?;
    }
    for disk in fleet.places().map(Disk::Node).chain([Disk::Storage]) {
        fleet.empty(disk)?;
    }
    for disk in fleet.places().filter_map(|node| fleet.fault_disk(node).ok()) {
        disk.fail_syncs(0);
        disk.slow_down(Duration::ZERO);
    }
    let process = world.recorder.process();
    let open = world.recorder.invoke(process, "nemesis.recover", Value::Null);
    for node in fleet.places() {
        fleet.thaw(node).await?;
        fleet.begin(node).await?;
    }
    let ready = fleet.until_ready(RECOVERY).await;
    match &ready {
        Ok(()) => open.ok(json!("all nodes are ready")),
        Err(error) => open.info(format!("{error:#}")),
    };
    ready.context("recovery")
}
