//! W10 out of a history: every upload stored in the end, none refused for slots that were left behind.

use std::collections::BTreeMap;

use super::faults::{Disturbance, disturbances, disturbed};
use super::{storage, text};
use crate::check::Findings;
use crate::check::files;
use crate::content::Saw;
use crate::history::{Kind, Operation, Record};

/// Faults in which a node gives all its slots back before it ends.
const ORDERLY: [&str; 3] = ["rolling", "drain", "transfer"];

pub(super) fn of(records: &[Record], operations: &[Operation]) -> Findings {
    let mut findings = Findings::new("W10 uploads through a balancer");
    let faults = disturbances(records, operations).into_iter();
    let losses: Vec<Disturbance> = faults.filter(|fault| !ORDERLY.contains(&fault.name.as_str())).collect();
    for upload in operations.iter().filter(|one| one.f == "W10.upload") {
        findings.checked += 1;
        match upload.outcome {
            Kind::Ok => findings.count("uploads stored", 1),
            // Never answered: the run was cut short.
            _ if upload.answered == u64::MAX => {}
            _ => findings.violated("D-failed", upload.invoked, format!("{}: {}", text(upload, "path"), upload.answer)),
        }
        let limits = upload.answer["limits"].as_u64().unwrap_or(0);
        findings.count("tries", upload.answer["tries"].as_u64().unwrap_or(0));
        findings.count("tries refused for the limit", limits);
        if upload.answered == u64::MAX || disturbed(&losses, upload.invoked, upload.answered) {
            continue;
        }
        findings.count("uploads judged for slots", 1);
        if limits > 0 {
            let what =
                format!("{}: refused for the limit {limits} times although no node was lost", text(upload, "path"));
            findings.violated("D-slots", upload.invoked, what);
        }
    }
    let mut paths: BTreeMap<&str, (Vec<files::Write>, Vec<files::Read>)> = BTreeMap::new();
    for operation in operations {
        let own = || text(operation, "path");
        match operation.f.as_str() {
            "W10.put" => {
                storage::closed(operation, &mut findings);
                let write = storage::write(operation, operation.asked["content"].as_u64());
                paths.entry(own()).or_default().0.push(write);
            }
            "W10.read" if operation.is_ok() => match serde_json::from_value::<Saw>(operation.answer["saw"].clone()) {
                Ok(saw) => paths.entry(own()).or_default().1.push(storage::read(operation, saw)),
                Err(error) => findings.unknown.push(format!("record {}: {error}", operation.index)),
            },
            _ => {}
        }
    }
    for (path, (writes, reads)) in &paths {
        files::check(path, writes, reads, &mut findings);
    }
    findings
}
