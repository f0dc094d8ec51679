//! A cluster under test: real processes, each killed, frozen and started on its own, on a network that can be cut.

mod command;
mod disk;
mod prepare;
mod process;

pub use disk::Disk;
pub use process::{ASKED, Life};

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::admin::Admin;
use crate::check::cluster::{PANIC, RESOURCES, Resources, SNAPSHOTS, VIEW, View};
use crate::history::Recorder;
use crate::net::bridge::Bridge;
use crate::net::switch::Switch;
use crate::net::wire::Wires;
use crate::net::{Network, Place, Plane};
use process::Process;

/// How long a node may take from its start to answering.
const START: Duration = Duration::from_secs(60);

/// What a run wants of its cluster.
#[derive(Clone, Debug)]
pub struct Options {
    pub nodes: usize,
    /// Nodes in namespaces; else on loopback behind the switch.
    pub namespaces: bool,
    /// The product's binary.
    pub binary: PathBuf,
    /// Where everything of the run is kept.
    pub folder: PathBuf,
    /// Added to every port in loopback mode.
    pub port_offset: u16,
    /// Snapshots this often, and the log purged: a node that was away gets a snapshot.
    pub snapshot_entries: Option<u64>,
    /// The storage, and data folders unless they are on fault disks, on disks that can be filled.
    pub small_disks: bool,
    /// Peers talk through wires of our own, which delay and damage.
    pub wires: bool,
    /// Nodes whose wall clocks can be set.
    pub wall_clocks: bool,
    /// Data folders on disks whose power can be cut, which can be slow and fail.
    pub fault_disks: bool,
    /// The storage on such a disk too.
    pub fault_storage: bool,
}

pub struct Fleet {
    pub folder: PathBuf,
    pub network: Network,
    pub recorder: Recorder,
    nodes: Vec<Mutex<Process>>,
    relays: Vec<tokio::process::Child>,
    /// With `wires`, those of all nodes.
    pub wires: Option<Wires>,
    token: String,
    binary: PathBuf,
    /// With `fault_disks`, each node's.
    disks: Vec<disk::FaultDisk>,
    /// With `fault_storage`.
    storage: Option<disk::FaultDisk>,
    /// The node id at each place.
    ids: std::sync::Mutex<Vec<u64>>,
}

impl Fleet {
    /// Makes the cluster and waits until each node is ready.
    pub async fn start(options: &Options, recorder: Recorder) -> Result<Fleet> {
        let folder = options.folder.join("cluster");
        let prepared = prepare::prepare(options, &folder).await?;
        let network = if options.namespaces {
            Network::Bridge(Bridge::build(options.nodes).await?)
        } else {
            let first = options.port_offset + 1_000;
            Network::Switch(Switch::build(options.nodes, first, |plane, node| prepared.listener(plane, node)).await?)
        };
        prepare::rewrite(options, &folder, &network)?;
        let data = (1..=options.nodes).map(|node| folder.join(format!("node{node}/data")));
        let mut disks = Vec::new();
        if options.fault_disks {
            disks = data.map(|data| disk::FaultDisk::over(&data)).collect::<Result<_>>()?;
        } else if options.small_disks {
            for disk in data {
                disk::mount(&disk, disk::NODE_ROOM)?;
            }
        }
        let files = folder.join("files");
        let storage = options.fault_storage.then(|| disk::FaultDisk::over(&files)).transpose()?;
        if options.small_disks && storage.is_none() {
            disk::mount(&files, disk::STORAGE_ROOM)?;
        }
        let mut relays = Vec::new();
        if let Network::Bridge(bridge) = &network {
            for node in 1..=options.nodes {
                let mut relay = bridge.command(node, &std::env::current_exe()?);
                relay.args(["relay", &Bridge::address(Plane::Admin, node).to_string()]);
                relay.arg(prepared.listener(Plane::Admin, node).to_string());
                relays.push(relay.kill_on_drop(true).spawn().context("starting the admin relay")?);
            }
        }
        let wires = match &network {
            Network::Bridge(bridge) if options.wires => Some(Wires::lay(bridge, options.nodes)?),
            _ => None,
        };
        let processes =
            (1..=options.nodes).map(|node| Mutex::new(Process::new(node, options, &folder, recorder.clone())));
        let ids = std::sync::Mutex::new((1..=options.nodes as u64).collect());
        let (nodes, token, binary) = (processes.collect(), prepared.token, options.binary.clone());
        let fleet = Fleet { nodes, network, recorder, relays, wires, token, binary, disks, storage, ids, folder };
        for node in 1..=options.nodes {
            fleet.begin(node).await?;
        }
        fleet.until_ready(START).await?;
        Ok(fleet)
    }

    pub fn size(&self) -> usize {
        self.nodes.len()
    }
    /// Nodes are numbered from 1.
    pub fn places(&self) -> std::ops::RangeInclusive<Place> {
        1..=self.size()
    }
    pub fn sftp(&self, node: Place) -> SocketAddr {
        self.network.address(Plane::Clients, node)
    }
    pub fn admin(&self, node: Place) -> Admin {
        Admin::new(self.network.address(Plane::Admin, node), &self.token)
    }
    /// The storage that the nodes share.
    pub fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// Starts the node's process; does not wait until it answers.
    pub async fn begin(&self, node: Place) -> Result<()> {
        self.nodes[node - 1].lock().await.start(&self.network)
    }
    /// The same of a node that something was done to, for which it may end by itself.
    pub async fn begin_excused(&self, node: Place, why: &'static str) -> Result<()> {
        self.nodes[node - 1].lock().await.start_excused(&self.network, why)
    }
    /// By how much the wall clock of the node's process is off from now on, with `wall_clocks`.
    pub fn set_wall_clock(&self, node: Place, by_ms: i64) -> Result<()> {
        process::set_wall_clock(&self.folder.join(format!("node{node}")), by_ms)
    }
    /// SIGKILL, and waits until the process is gone.
    pub async fn kill(&self, node: Place) -> Result<()> {
        self.nodes[node - 1].lock().await.kill().await
    }
    /// SIGTERM, and waits at most `limit` until the process has ended by itself.
    pub async fn stop(&self, node: Place, limit: Duration) -> Result<()> {
        self.nodes[node - 1].lock().await.stop(limit).await
    }
    /// Waits until a process that was asked to end by other means has ended by itself.
    pub async fn await_end(&self, node: Place, limit: Duration) -> Result<()> {
        self.nodes[node - 1].lock().await.await_end(limit).await
    }
    /// The node's process may end by itself from now on, for a while if one is given; else that it did is a violation.
    pub async fn may_end(&self, node: Place, why: &'static str, time: Option<Duration>) {
        self.nodes[node - 1].lock().await.may_end(why, time);
    }
    pub async fn must_live(&self, node: Place) {
        self.nodes[node - 1].lock().await.must_live();
    }
    /// SIGSTOP, and waits until each thread has stopped.
    pub async fn freeze(&self, node: Place) -> Result<()> {
        self.nodes[node - 1].lock().await.freeze().await
    }
    pub async fn thaw(&self, node: Place) -> Result<()> {
        self.nodes[node - 1].lock().await.thaw()
    }
    /// What the node's process is doing, and how often it was started.
    pub async fn life(&self, node: Place) -> (Life, u64) {
        let mut process = self.nodes[node - 1].lock().await;
        (process.life(), process.starts)
    }

    pub async fn is_ready(&self, node: Place) -> bool {
        matches!(self.admin(node).get("/readyz", Duration::from_secs(1)).await, Ok(answer) if answer.status == 200)
    }

    /// Waits until every node says that it is ready.
    pub async fn until_ready(&self, limit: Duration) -> Result<()> {
        let end = tokio::time::Instant::now() + limit;
        let mut every = tokio::time::interval(Duration::from_millis(50));
        for node in self.places() {
            while !self.is_ready(node).await {
                every.tick().await;
                if self.life(node).await.0 == Life::Ended {
                    bail!("node {node} ended by itself:\n{}", self.log_tail(node));
                }
                ensure!(
                    tokio::time::Instant::now() < end,
                    "node {node} is not ready after {limit:?}: {}\n{}",
                    self.why_not_ready(node).await,
                    self.log_tail(node)
                );
            }
        }
        Ok(())
    }

    pub async fn why_not_ready(&self, node: Place) -> String {
        match self.admin(node).get("/readyz", Duration::from_secs(1)).await {
            Ok(answer) => answer.body.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// The node that leads, as any node says that answers.
    pub async fn leader(&self) -> Option<Place> {
        let mut best: Option<View> = None;
        for node in self.places() {
            if let Some(view) = self.view(node).await
                && view.leader.is_some()
                && best.as_ref().is_none_or(|best| view.term > best.term)
            {
                best = Some(view);
            }
        }
        best.and_then(|view| view.leader).and_then(|leader| self.place_of(leader))
    }

    /// What a node says of the cluster; also a record of the history.
    pub async fn view(&self, node: Place) -> Option<View> {
        let (life, start) = self.life(node).await;
        if life != Life::Running {
            return None;
        }
        let asked_ns = self.recorder.now_ns();
        let answer = self.admin(node).get("/api/v2/cluster", Duration::from_millis(500)).await.ok()?;
        if answer.status != 200 || self.life(node).await.1 != start {
            return None;
        }
        let id = self.id_of(node);
        let own = answer.body["nodes"].as_array()?.iter().find(|one| one["id"] == id)?;
        let view = View {
            node: id,
            start,
            term: answer.body["term"].as_u64()?,
            leader: answer.body["leader"].as_u64(),
            applied: answer.body["applied_index"].as_u64().or_else(|| own["applied_index"].as_u64())?,
            hash: answer.body["state_hash"].as_str().map(str::to_owned),
            asked_ns,
        };
        self.recorder.observe(VIEW, serde_json::to_value(&view).ok()?);
        Some(view)
    }

    /// Records descriptors and memory of each running node.
    pub async fn measure(&self) {
        for node in self.places() {
            let process = self.nodes[node - 1].lock().await;
            if let Some((descriptors, resident_kib)) = process.resources() {
                let one = Resources { node: node as u64, start: process.starts, descriptors, resident_kib };
                self.recorder.observe(RESOURCES, serde_json::json!(one));
            }
        }
    }

    /// Records how often a snapshot was installed, by the nodes' logs.
    pub fn look_for_snapshots(&self) {
        let logs = self.places().flat_map(|node| self.logs(node));
        let texts = logs.map(|log| String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned());
        let installed: usize = texts.map(|text| text.matches("\"snapshot_installed\"").count()).sum();
        self.recorder.observe(SNAPSHOTS, serde_json::json!(installed));
    }

    /// Records each line of the nodes' logs that tells of a panic.
    pub fn look_for_panics(&self) -> Result<()> {
        for node in self.places() {
            for log in self.logs(node) {
                let text = std::fs::read(&log).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                for line in text.lines().filter(|line| line.contains("panicked at") || line.contains("\"panic\"")) {
                    self.recorder.observe(PANIC, Value::String(format!("node {node}: {line}")));
                }
            }
        }
        Ok(())
    }

    fn logs(&self, node: Place) -> [PathBuf; 2] {
        ["node.log", "stderr.log"].map(|name| self.folder.join(format!("node{node}")).join(name))
    }

    /// The last line that its process wrote beside its log, the reason for which it ended.
    pub async fn last_words(&self, node: Place) -> String {
        self.nodes[node - 1].lock().await.last_words()
    }
    /// With which its process ended by itself; none if it runs, or a signal ended it.
    pub async fn exit_code(&self, node: Place) -> Option<i32> {
        self.nodes[node - 1].lock().await.exit_code()
    }
    /// The machine must not run again with the disk that it has. How its process ended over that is the caller's to judge: its logs are
    /// put aside.
    pub async fn condemn(&self, node: Place) -> Result<()> {
        self.nodes[node - 1].lock().await.condemned = true;
        for log in self.logs(node).into_iter().filter(|log| log.exists()) {
            std::fs::rename(&log, log.with_extension("damaged"))?;
        }
        Ok(())
    }

    fn log_tail(&self, node: Place) -> String {
        let tail = |log: &PathBuf| {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(15)..].join("\n")
        };
        self.logs(node).iter().map(tail).collect::<Vec<_>>().join("\n")
    }

    /// Bytes of the node's log.
    pub fn log_length(&self, node: Place) -> u64 {
        self.logs(node)[0].metadata().map_or(0, |meta| meta.len())
    }
    /// What the node's log says behind that many bytes.
    pub fn log_since(&self, node: Place, length: u64) -> String {
        let text = std::fs::read(&self.logs(node)[0]).unwrap_or_default();
        String::from_utf8_lossy(text.get(length as usize..).unwrap_or_default()).into_owned()
    }

    /// Whether its process has ended although nobody killed it.
    pub async fn has_ended(&self, node: Place) -> bool {
        self.life(node).await.0 == Life::Ended
    }

    /// Writes down which processes ended by themselves and were not seen to, yet.
    pub async fn look_for_exits(&self) {
        for node in self.places() {
            self.life(node).await;
        }
    }

    /// Ends all processes.
    pub async fn end(mut self) {
        for node in self.places() {
            let _ = self.thaw(node).await;
            let _ = self.kill(node).await;
        }
        for relay in &mut self.relays {
            let _ = relay.kill().await;
        }
    }
}

/// The product's binary: `FLOTILLA_BIN`, or the one beside this program.
pub fn binary(given: Option<&Path>) -> Result<PathBuf> {
    match given {
        Some(path) => {
            ensure!(path.is_file(), "{} is no file", path.display());
            Ok(std::fs::canonicalize(path)?)
        }
        None => crate::lab::binary(),
    }
}
