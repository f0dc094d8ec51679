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
use super::{Findings, JUDGED_AT_REST, cluster, users};
use crate::history::{Operation, Record, pair};

/// The name of records by which a run says that it could not go on, or that the cluster did not recover: undecided.
pub const PROBLEM: &str = "run.problem";
/// The name of records that say which rule did not hold after the recovery: `{"rule", "text"}`.
pub const BROKEN: &str = "run.broken";
/// The rules of `BROKEN` records.
const AT_THE_END: [&str; 2] = ["S-live", "R-live"];

/// All checkers over one history. Workloads that did not run have nothing to check and no finding.
pub fn judge(records: &[Record], budget: Budget) -> Result<Vec<Findings>> {
    let operations = pair(records)?;
    // Less than this means that a run tested nothing, however green: it is then unknown.
    let least = |mut findings: Findings, what: &str, number: u64| {
        findings.require(what, number);
        findings
    };
    let ran = |prefix: &str| operations.iter().any(|operation: &Operation| operation.f.starts_with(prefix));
    let succeeded =
        |f: &str| operations.iter().filter(|operation| operation.f == f && operation.is_ok()).count() as u64;
    let at_rest = u64::from(faults::recovered(&operations).is_some());
    let mut always = least(cluster::check(records), "states compared", 1);
    if succeeded("nemesis.behind") > 2 {
        always.require("snapshots installed", 1);
    }
    let mut all = vec![always, faults::check(records, &operations), recovery(records)];
    if ran("W1.") {
        all.push(least(users::check(&operations, budget), "logins", 10));
    }
    if ran("W2.") {
        let findings = least(slots::check(records, &operations), "sessions that served", 10);
        all.push(least(least(findings, "refusals judged", 5), JUDGED_AT_REST, at_rest));
    }
    if ran("W3.") {
        let findings = least(revocation::of(records, &operations), "sessions alive at a revocation", 3);
        all.push(least(findings, "revocations with nothing disturbed", 1));
    }
    if ran("W4.") {
        all.push(least(least(storage::check_quota(records, &operations), "samples", 20), "refusals judged", 3));
        let quota = all.last_mut().expect("just pushed");
        quota.require(JUDGED_AT_REST, at_rest);
        quota.require("times that the ledger was read beside the storage", 3);
        quota.count("scans that began", succeeded("W4.scan"));
        if ran("W4.scan") {
            quota.require("scans that began", 1);
        }
        all.push(least(storage::check_files(&operations), "uploads stored", 10));
    }
    if ran("W5.") {
        all.push(least(storage::check_exclusive(&operations), "uploads stored", 10));
    }
    if ran("W6.") {
        all.push(least(least(events::of(records, &operations), "changes", 20), "repetitions answered", 3));
    }
    if ran("W10.") {
        let findings = least(balanced::of(records, &operations), "uploads stored", 20);
        all.push(least(findings, "uploads judged for slots", 5));
    }
    Ok(all)
}

/// What had to succeed at the end. What the suite itself could not do decides nothing.
fn recovery(records: &[Record]) -> Findings {
    let mut findings = Findings::new("recovery");
    findings.checked = 1;
    for record in records {
        if record.f == PROBLEM {
            findings.unknown.push(record.value.as_str().unwrap_or_default().to_owned());
        } else if record.f == BROKEN {
            let text = record.value["text"].as_str().unwrap_or_default();
            match AT_THE_END.iter().find(|rule| record.value["rule"] == **rule) {
                Some(rule) => findings.violated(rule, record.time, text),
                None => findings.unknown.push(format!("record {}: no such rule: {text}", record.index)),
            }
        }
    }
    findings
}

/// A field of an operation's question.
fn text<'a>(operation: &'a Operation, name: &str) -> &'a str {
    operation.asked[name].as_str().unwrap_or_default()
}
