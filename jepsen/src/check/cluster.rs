//! What must hold always, whatever the workload: one leader per term, equal states, no panic, descriptors back to their baseline, memory bounded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Findings;
use crate::history::Record;

/// The name of `View` records.
pub const VIEW: &str = "cluster.view";
/// The name of `Resources` records.
pub const RESOURCES: &str = "cluster.resources";
/// The name of records that hold a suspicious line of a node's log.
pub const PANIC: &str = "cluster.panic";

/// The name of the record of how many snapshots were installed.
pub const SNAPSHOTS: &str = "cluster.snapshots";

/// The name of `Exit` records.
pub const EXIT: &str = "cluster.exit";

/// A node's process that ended although nobody killed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub node: u64,
    pub start: u64,
    pub status: String,
    /// With code 0.
    pub well: bool,
    /// `asked`, or the fault of this node's disk that may have made it.
    pub excuse: Option<String>,
}

/// What a node said of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    pub node: u64,
    /// Counts the starts of this node in this run.
    pub start: u64,
    pub term: u64,
    pub leader: Option<u64>,
    pub applied: u64,
    /// The state's hash at `applied`.
    pub hash: Option<String>,
    /// When it was asked, nanoseconds since the run began: answers of one node that overlap may come in any order.
    #[serde(default)]
    pub asked_ns: u64,
}

/// The highest value of one node so far, over time.
#[derive(Default)]
struct Highest {
    /// When it was answered, and the highest until then; both rise.
    steps: Vec<(u64, u64)>,
}

impl Highest {
    /// Takes a value in; returns the highest that had been answered before this was asked, if that is more.
    fn take(&mut self, asked: u64, answered: u64, value: u64) -> Option<u64> {
        let before = self.steps.partition_point(|(at, _)| *at < asked);
        let most = before.checked_sub(1).map(|at| self.steps[at].1);
        if self.steps.last().is_none_or(|(_, last)| *last < value) {
            self.steps.push((answered, value));
        }
        most.filter(|most| value < *most)
    }
}

/// A node's process at rest, before the workloads or after the recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    pub node: u64,
    pub start: u64,
    pub descriptors: u64,
    pub resident_kib: u64,
}

/// Descriptors may differ by this much from the baseline: connections between nodes come and go.
const DESCRIPTORS: u64 = 10;
/// Resident memory of a node at rest, KiB.
const RESIDENT_KIB: u64 = 1 << 20;

/// Checks all observations of a history.
pub fn check(records: &[Record]) -> Findings {
    let mut findings = Findings::new("C0 always");
    let mut views = Vec::new();
    let mut resources: Vec<Resources> = Vec::new();
    for record in records.iter().filter(|record| record.process == 0) {
        let read = match record.f.as_str() {
            VIEW => serde_json::from_value(record.value.clone()).map(|view: View| views.push((record.time, view))),
            RESOURCES => serde_json::from_value(record.value.clone()).map(|one| resources.push(one)),
            SNAPSHOTS => {
                findings.count("snapshots installed", record.value.as_u64().unwrap_or(0));
                Ok(())
            }
            EXIT => {
                serde_json::from_value(record.value.clone()).map(|exit| check_exit(record.time, &exit, &mut findings))
            }
            PANIC => {
                findings.violated("C-panic", record.time, record.value.to_string());
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(error) = read {
            findings.unknown.push(format!("record {}: {error}", record.index));
        }
    }
    check_views(&views, &mut findings);
    check_resources(&resources, &mut findings);
    findings
}

/// A process ends when it is asked to, and well; or because its disk fails.
fn check_exit(at: u64, exit: &Exit, findings: &mut Findings) {
    let Exit { node, start, status, .. } = exit;
    match exit.excuse.as_deref() {
        None => findings.violated("C-exit", at, format!("node {node}, start {start}, ended by itself: {status}")),
        Some("asked") if exit.well => findings.count("ends asked for", 1),
        Some("asked") => findings.violated(
            "C-exit",
            at,
            format!("node {node}, start {start}, was asked to end and did so with {status}"),
        ),
        Some(fault) => findings.count(&format!("ends by {fault}"), 1),
    }
}

fn check_views(views: &[(u64, View)], findings: &mut Findings) {
    findings.checked += views.len() as u64;
    let mut leaders: BTreeMap<u64, u64> = BTreeMap::new();
    let mut hashes: BTreeMap<u64, (&str, u64)> = BTreeMap::new();
    let mut terms: BTreeMap<u64, Highest> = BTreeMap::new();
    let mut applied: BTreeMap<(u64, u64), Highest> = BTreeMap::new();
    for (at, view) in views {
        if let Some(leader) = view.leader {
            let first = *leaders.entry(view.term).or_insert(leader);
            if first != leader {
                let text = format!("term {} has leaders {first} and {leader} (says node {})", view.term, view.node);
                findings.violated("C-leader", *at, text);
            }
        }
        if let Some(hash) = &view.hash {
            let (first, whose) = hashes.entry(view.applied).or_insert((hash, view.node));
            if *first != hash {
                let text = format!("index {}: nodes {whose} and {} have different states", view.applied, view.node);
                findings.violated("C-hash", *at, text);
            }
            findings.count("states compared", u64::from(*whose != view.node));
        }
        // A history of an earlier version does not say when it was asked.
        let asked = if view.asked_ns == 0 { *at } else { view.asked_ns };
        if let Some(term) = terms.entry(view.node).or_default().take(asked, *at, view.term) {
            findings.violated("C-term", *at, format!("node {}: term {} after {term}", view.node, view.term));
        }
        if let Some(index) = applied.entry((view.node, view.start)).or_default().take(asked, *at, view.applied) {
            findings.violated("C-applied", *at, format!("node {}: applied {} after {index}", view.node, view.applied));
        }
    }
    findings.count("terms", leaders.len() as u64);
}

/// The first record of a node is of its rest before the workloads. Any node may lead in the end, and a leader has more connections:
/// the baseline is the highest of all first records.
fn check_resources(resources: &[Resources], findings: &mut Findings) {
    let mut first: BTreeMap<u64, &Resources> = BTreeMap::new();
    for one in resources {
        first.entry(one.node).or_insert(one);
    }
    let baseline = first.values().map(|one| one.descriptors).max().unwrap_or(0);
    for now in resources {
        if now.descriptors > baseline + DESCRIPTORS {
            let text = format!("node {}: {} descriptors at rest, at most {baseline} before", now.node, now.descriptors);
            findings.violated("C-descriptors", 0, text);
        }
        if now.resident_kib > RESIDENT_KIB {
            findings.violated("C-memory", 0, format!("node {}: {} KiB resident at rest", now.node, now.resident_kib));
        }
    }
}
