//! What the nemeses did: how often, and when a checker must allow for it.

use crate::check::Findings;
use crate::history::{Kind, Operation, Record};

/// The name of the record of the faults that a run was to make.
pub const FAULTS: &str = "run.faults";

/// A span in which a fault was made or undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disturbance {
    pub name: String,
    pub from: u64,
    /// When it was undone; `u64::MAX` if the run ended before.
    pub to: u64,
}

/// The faults of a history, in time.
pub fn disturbances(operations: &[Operation]) -> Vec<Disturbance> {
    let faults = operations.iter().filter_map(|operation| Some((operation.f.strip_prefix("nemesis.")?, operation)));
    faults
        .filter(|(_, operation)| operation.outcome != Kind::Fail)
        .map(|(name, operation)| Disturbance { name: name.to_owned(), from: operation.invoked, to: operation.answered })
        .collect()
}

const TAKEOVERS: &str = "pauses of a slot holder while another served";

/// Counts faults; one that could not be made or undone leaves the run undecided.
pub(super) fn check(records: &[Record], operations: &[Operation]) -> Findings {
    let mut findings = Findings::new("faults");
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
        if operation.answer["leader"] == true {
            findings.count("faults of the leader", 1);
        }
    }
    const HOLDER: &str = "pause-holder";
    let wanted = records.iter().filter(|record| record.f == FAULTS).filter_map(|record| record.value.as_array());
    let made = operations.iter().any(|operation| operation.f.strip_prefix("nemesis.") == Some(HOLDER));
    if made || wanted.flatten().any(|name| name == HOLDER) {
        findings.require(TAKEOVERS, 1);
    }
    findings
}

/// Whether anything was disturbed in a span, or so shortly before it that leases may still have been running out.
pub(super) fn disturbed(faults: &[Disturbance], from: u64, to: u64) -> bool {
    const AFTER: u64 = 20_000_000_000;
    faults.iter().any(|fault| fault.from <= to && from <= fault.to.saturating_add(AFTER))
}
