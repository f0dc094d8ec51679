//! What the nemeses did: how often, and when a checker must allow for it.

use crate::check::Findings;
use crate::history::{Kind, Operation, Record};
use crate::stall::STALL;

/// The name of the record of the faults that a run was to make.
pub const FAULTS: &str = "run.faults";

/// A span in which a fault was made or undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disturbance {
    pub name: String,
    pub from: u64,
    /// When it was undone; `u64::MAX` if the run ended before.
    pub to: u64,
    /// When its consequences are over: leases have run out, or the recovery has been.
    pub settled: u64,
}

/// What a fault may leave lasts this long.
const AFTER: u64 = 20_000_000_000;
/// What it may leave once all nodes said after the last fault that they are ready.
const AFTER_RECOVERY: u64 = 3_000_000_000;
/// A machine that goes on is at once what it was, but for what waited meanwhile.
const AFTER_STALL: u64 = 2_000_000_000;

/// When all nodes were ready after the last fault.
pub(super) fn recovered(operations: &[Operation]) -> Option<u64> {
    operations.iter().filter(|one| one.f == "nemesis.recover" && one.is_ok()).map(|one| one.returned).max()
}

/// The faults of a history, in time, and when the machine itself stood still.
pub fn disturbances(records: &[Record], operations: &[Operation]) -> Vec<Disturbance> {
    let stalls = records.iter().filter(|record| record.f == STALL).map(|record| {
        let ns = record.value["ms"].as_u64().unwrap_or(0) * 1_000_000;
        let (from, to) = (record.time.saturating_sub(ns), record.time);
        Disturbance { name: STALL.to_owned(), from, to, settled: to + AFTER_STALL }
    });
    let recovered = recovered(operations);
    let settled = |to: u64| {
        let rest = recovered.filter(|at| *at >= to).map_or(u64::MAX, |at| at + AFTER_RECOVERY);
        rest.min(to.saturating_add(AFTER))
    };
    let faults = operations.iter().filter_map(|operation| Some((operation.f.strip_prefix("nemesis.")?, operation)));
    faults
        .filter(|(_, operation)| operation.outcome != Kind::Fail)
        .map(|(name, operation)| {
            let (from, to) = (operation.invoked, operation.answered);
            Disturbance { name: name.to_owned(), from, to, settled: settled(to) }
        })
        .chain(stalls)
        .collect()
}

/// Only these can show that a lease is checked too late: one of the others has the frozen session's slot for certain.
const ALL_TAKEN: &str = "of them while others had all slots";
const TAKEOVERS: &str = "pauses of a slot holder while another served";

/// Counts faults; one that could not be made or undone leaves the run undecided.
pub(super) fn check(records: &[Record], operations: &[Operation]) -> Findings {
    let mut findings = Findings::new("faults");
    for stall in records.iter().filter(|record| record.f == STALL) {
        findings.count("milliseconds in which the machine stood still", stall.value["ms"].as_u64().unwrap_or(0));
    }
    for operation in operations {
        let Some(name) = operation.f.strip_prefix("nemesis.") else { continue };
        findings.checked += 1;
        match operation.outcome {
            Kind::Ok => findings.count(name, 1),
            Kind::Info => findings.unknown.push(format!("{name}: {}", operation.answer)),
            _ => findings.count("no target", 1),
        }
        if operation.answer["another_served_and_a_request_waited"] == true {
            findings.count(TAKEOVERS, 1);
        }
        if operation.answer["others_had_all_slots"] == true {
            findings.count(ALL_TAKEN, 1);
        }
        match operation.answer["process_saw_it"].as_bool() {
            Some(true) => findings.count("wall clocks that the node's log shows", 1),
            Some(false) => {
                findings.unknown.push(format!("{name}: the node's log goes by another clock: {}", operation.answer))
            }
            None => {}
        }
        if name == "flipped-bits" && operation.is_ok() {
            flipped(operation, &mut findings);
        }
        if operation.answer["leader"] == true {
            findings.count("faults of the leader", 1);
        }
    }
    const HOLDER: &str = "pause-holder";
    let wanted = records.iter().filter(|record| record.f == FAULTS).filter_map(|record| record.value.as_array());
    let made = operations.iter().any(|operation| operation.f.strip_prefix("nemesis.") == Some(HOLDER));
    if made || wanted.flatten().any(|name| name == HOLDER) {
        findings.require(ALL_TAKEN, 1);
    }
    findings
}

/// A node that refuses its files says so. One that its peers refuse, or whose damage harms nothing, is judged by all the other rules.
fn flipped(operation: &Operation, findings: &mut Findings) {
    let said = operation.answer["said"].as_str().unwrap_or_default();
    let refused = operation.answer["refused"] == true;
    let what = match (refused, operation.answer["ready"] == true) {
        (true, _) => "damaged files that the node refused",
        (false, false) => "damaged files with which the node did not become ready",
        (false, true) => "damaged files that harmed nothing",
    };
    findings.count(what, 1);
    let names_it = ["damaged", "data/"].iter().any(|word| said.contains(word));
    let by_signal = operation.answer.get("code").is_some_and(serde_json::Value::is_null);
    if refused && (by_signal || !names_it) {
        let how = if by_signal { "a signal ended the node" } else { "the node ended" };
        let text = format!("{} has flipped bits; {how} with: {said}", operation.answer["flipped"]);
        findings.violated("C-reason", operation.returned, text);
    }
}

/// Whether anything was disturbed in a span, or so shortly before it that leases may still have been running out.
pub(super) fn disturbed(faults: &[Disturbance], from: u64, to: u64) -> bool {
    faults.iter().any(|fault| fault.from <= to && from <= fault.settled)
}
