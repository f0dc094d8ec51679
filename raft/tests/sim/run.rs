//! One run of one seed: nodes, clients and faults, a millisecond after the other, then a calm in which all must be well again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flotilla_model::{LogIndex, SessionId, Username};
use flotilla_raft::testing::simulation::set_seed;
use serde::{Deserialize, Serialize};

use crate::agent::lives;
use crate::clients::Clients;
use crate::faults::{FaultCounts, Faults};
use crate::net::Net;
use crate::node::{Node, World};
use crate::oracle::{Counts, Oracle};
use crate::rng::Rng;

/// Within this time after the last fault everything must be well.
const CALM: u64 = 40_000;
/// How often sessions and leases are looked at, in ms.
const LOOK: u64 = 3;

thread_local! {
    /// A run is one thread, and so are its panics.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

#[derive(Clone, Copy)]
pub struct Options {
    pub seed: u64,
    pub keep_trace: bool,
}

#[derive(Default, Serialize, Deserialize)]
pub struct Outcome {
    pub seed: u64,
    pub violation: Option<String>,
    pub trace: String,
    /// The trace's lines where they are kept.
    pub lines: Vec<String>,
    pub counts: Counts,
    pub faults: FaultCounts,
    pub packets: u64,
    pub lost_groups: u64,
    pub simulated_ms: u64,
    /// What it took of the processor; 0 where nobody measures it.
    pub processor_ms: u64,
    pub nodes: u64,
}

/// Panics of tasks are violations too. Once per process.
pub fn catch_panics() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let what = info.to_string().replace('\n', " ");
        let _ = PANICS.try_with(|panics| panics.try_borrow_mut().map(|mut panics| panics.push(what)));
        if std::env::var_os("SIM_PANICS").is_some() {
            usual(info);
        }
    }));
}

fn take_panics() -> Vec<String> {
    PANICS.take()
}

struct Run {
    now: u64,
    nodes: Vec<Node>,
    clients: Clients,
    faults: Faults,
    oracle: Arc<Oracle>,
    net: Net,
    wants_ops: Arc<AtomicBool>,
}

pub fn run(options: Options) -> Outcome {
    take_panics();
    let mut rng = Rng::new(options.seed);
    set_seed(rng.number());
    let folder = Folder::new(options.seed);
    let oracle = Oracle::new(options.keep_trace);
    let count = if rng.permille(400) { 5 } else { 3 };
    let twice = rng.below(60);
    let net = Net::new(rng.fork(), twice);
    let snapshot_entries = rng.between(20, 200);
    let keep_entries = rng.between(3, 60);
    let world = World { net: net.clone(), oracle: Arc::clone(&oracle), nodes: count, snapshot_entries, keep_entries };
    let wants_ops = Arc::new(AtomicBool::new(true));
    let mut nodes: Vec<Node> =
        (1..=count).map(|id| Node::new(id, world.clone(), &folder.0, rng.fork(), Arc::clone(&wants_ops))).collect();
    nodes.iter_mut().for_each(Node::start);
    let clients = Clients::new(Arc::clone(&oracle), rng.fork());
    let faults = Faults::new(rng.fork(), net.clone());
    let length = rng.between(15_000, 60_000);
    let mut run = Run { now: 0, nodes, clients, faults, oracle, net, wants_ops };
    run.found();
    run.storm(length);
    run.calm();
    let lost_groups = run.nodes.iter().map(|node| node.disk.lost_groups()).sum();
    run.nodes.clear();
    run.take_panics();
    Outcome {
        seed: options.seed,
        violation: run.oracle.violation(),
        trace: run.oracle.trace(),
        lines: run.oracle.trace_lines(),
        counts: run.oracle.counts(),
        faults: run.faults.counts,
        packets: run.net.packets(),
        lost_groups,
        simulated_ms: run.now,
        processor_ms: 0,
        nodes: count,
    }
}

impl Run {
    /// The cluster's first records, before anything goes wrong.
    fn found(&mut self) {
        while !self.oracle.has_nodes(self.nodes.len()) && self.oracle.violation().is_none() {
            self.tick(false);
            if self.now > CALM {
                self.oracle.fail("the cluster was not founded".to_owned());
            }
        }
    }

    fn storm(&mut self, length: u64) {
        let length = self.now + length;
        while self.now < length && self.oracle.violation().is_none() {
            self.faults.tick(self.now, &mut self.nodes, &self.oracle);
            self.tick(true);
        }
    }

    /// No faults any more: a leader, a lease on every node, every node's word taken, and the same state everywhere.
    fn calm(&mut self) {
        if self.oracle.violation().is_some() {
            return;
        }
        self.faults.end(self.now, &mut self.nodes, &self.oracle);
        self.wants_ops.store(false, Ordering::Relaxed);
        let until = self.now + CALM;
        let mut words: Option<Vec<u64>> = None;
        while self.now < until && self.oracle.violation().is_none() {
            for node in &mut self.nodes {
                node.paused = None;
                node.disk.set_slow(0);
                if !node.is_up() {
                    node.start();
                }
            }
            self.faults.restart_failed(self.now, &mut self.nodes, &self.oracle);
            self.tick(false);
            let ready = self.nodes.iter().all(|node| self.is_well(node));
            match &words {
                None if ready => words = Some(self.clients.last_words(self.now, &self.nodes)),
                Some(numbers) if ready && numbers.iter().all(|number| !self.clients.is_under_way(*number)) => {
                    let last = self.oracle.last_index();
                    if self.nodes.iter().all(|node| self.oracle.applied_by(node.id) == last) {
                        return;
                    }
                }
                _ => {}
            }
        }
        let sick: Vec<String> = self.nodes.iter().map(|node| self.describe(node)).collect();
        self.oracle.fail(format!("{} ms after the last fault not all is well: {}", CALM, sick.join("; ")));
    }

    fn is_well(&self, node: &Node) -> bool {
        let Some(core) = node.core() else { return false };
        let lease = core.shared.lease.borrow().as_ref().is_some_and(|lease| lives(lease, node.clocks()));
        lease && core.shared.leader().is_some()
    }

    fn describe(&self, node: &Node) -> String {
        let Some(core) = node.core() else { return format!("node {} has not started", node.id) };
        let lease = core.shared.lease.borrow().as_ref().is_some_and(|lease| lives(lease, node.clocks()));
        let (leader, failed) = (core.shared.leader().map(|leader| leader.0), core.shared.failed.borrow().clone());
        let applied = self.oracle.applied_by(node.id);
        format!("node {}: leader {leader:?}, lease {lease}, applied {applied}, failed {failed:?}", node.id)
    }

    fn tick(&mut self, wanted: bool) {
        self.now += 1;
        self.net.set_now(self.now);
        self.oracle.set_now(self.now);
        for node in &mut self.nodes {
            node.tick(self.now);
        }
        self.clients.tick(self.now, &self.nodes, wanted);
        self.look();
    }

    fn look(&mut self) {
        for node in self.nodes.iter().filter(|node| node.runs()) {
            if let Some(term) = node.leads() {
                self.oracle.leads(node.id, term);
            }
        }
        if self.now.is_multiple_of(LOOK) {
            self.look_at_leases();
            self.take_panics();
        }
    }

    fn take_panics(&self) {
        for panic in take_panics() {
            self.oracle.fail(format!("a task panicked: {panic}"));
        }
    }

    /// Nothing of an epoch that the log has ended may be served, and of a user no more than its limit.
    fn look_at_leases(&self) {
        let mut users: BTreeMap<(Username, LogIndex), (u32, Vec<SessionId>)> = BTreeMap::new();
        for node in self.nodes.iter().filter(|node| node.runs()) {
            let now = node.clocks();
            let lease = node.with_core(|core| core.shared.lease.borrow().clone()).flatten();
            if let Some(lease) = lease.filter(|lease| lives(lease, now)) {
                self.oracle.lease_lives(node.id, lease.epoch());
            }
            let Some(sessions) = node.sessions() else { continue };
            for (id, held) in sessions.serving() {
                if lives(&held.lease, now) {
                    users.entry((held.username, held.incarnation)).or_insert((held.limit, Vec::new())).1.push(id);
                }
            }
        }
        self.oracle.serving(&users);
    }
}

/// A folder in memory for snapshots, gone with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(seed: u64) -> Self {
        let shm = PathBuf::from("/dev/shm");
        let root = if shm.is_dir() { shm } else { std::env::temp_dir() };
        let path = root.join(format!("flotilla-sim-{}-{seed}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for snapshots");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
