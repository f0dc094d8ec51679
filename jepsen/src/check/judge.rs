//! From a history to findings: reads what workloads wrote and hands it to the checkers.

mod balanced;
mod events;
mod faults;
mod revocation;
mod slots;
mod storage;

pub use faults::{Disturbance, FAULTS, disturbances};

use anyhow::Result;

use super::linear::Budget;
use super::{Findings, cluster, users};
use crate::history::{Operation, Record, pair};

/// The name of records by which a run says that something that must succeed after the recovery did not.
pub const PROBLEM: &str = "run.problem";

/// All checkers over one history. Workloads that did not run have nothing to check and no finding.
pub fn judge(records: &[Record], budget: Budget) -> Result<Vec<Findings>> {
    let operations = pair(records)?;
    // Less than this means that a run tested nothing, however green: it is then unknown.
    let least = |mut findings: Findings, what: &str, number: u64| {
        findings.require(what, number);
        findings
    };
    let always = least(cluster::check(records), "states compared", 1);
    let mut all = vec![always, faults::check(records, &operations), recovery(records)];
    let ran = |prefix: &str| operations.iter().any(|operation: &Operation| operation.f.starts_with(prefix));
    if ran("W1.") {
        all.push(least(users::check(&operations, budget), "logins", 10));
    }
    if ran("W2.") {
        all.push(least(slots::check(records, &operations), "sessions that served", 10));
    }
    if ran("W3.") {
        all.push(least(revocation::of(records, &operations), "sessions alive at a revocation", 3));
    }
    if ran("W4.") {
        all.push(storage::check_quota(records, &operations));
        all.push(least(storage::check_files(&operations), "uploads stored", 10));
    }
    if ran("W5.") {
        all.push(least(storage::check_exclusive(&operations), "uploads stored", 10));
    }
    if ran("W6.") {
        all.push(least(least(events::of(records, &operations), "changes", 20), "repetitions answered", 3));
    }
    if ran("W10.") {
        all.push(least(balanced::of(records, &operations), "uploads stored", 20));
    }
    Ok(all)
}

/// Liveness: what had to succeed at the end.
fn recovery(records: &[Record]) -> Findings {
    let mut findings = Findings::new("recovery");
    findings.checked = 1;
    for record in records.iter().filter(|record| record.f == PROBLEM) {
        findings.violated("live", record.time, record.value.as_str().unwrap_or_default());
    }
    findings
}

/// A field of an operation's question.
fn text<'a>(operation: &'a Operation, name: &str) -> &'a str {
    operation.asked[name].as_str().unwrap_or_default()
}
