//! W4 and W5: quotas and files out of a history.

use std::collections::{BTreeMap, BTreeSet};

use super::faults::{Disturbance, disturbances, disturbed, recovered};
use super::text;
use crate::check::Findings;
use crate::check::files::{self, Read, Seen, Write};
use crate::check::quota::{self, Counted, Quota, Refusal, Rest, Sample};
use crate::content::Saw;
use crate::history::{Kind, Operation, Record};
use crate::stall::STALL;
use crate::workload::quota::LONGEST_PROBE;

/// What a removed or failed upload held is credited this long after its answer at the latest, when nothing is disturbed.
const CREDIT: u64 = 5_000_000_000;

pub(super) fn check_quota(records: &[Record], operations: &[Operation]) -> Findings {
    let mut findings = Findings::new("W4 quota");
    let mut quotas: BTreeMap<String, Quota> = BTreeMap::new();
    let mut samples: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
    let mut counts: BTreeMap<String, Vec<Counted>> = BTreeMap::new();
    let mut rests: BTreeMap<String, Rest> = BTreeMap::new();
    for record in records {
        let user = record.value["user"].as_str().unwrap_or_default().to_owned();
        let read = match record.f.as_str() {
            "W4.quota" => serde_json::from_value(record.value.clone()).map(|Named { bytes, files }| {
                quotas.insert(user, Quota { bytes, files });
            }),
            "W4.sample" => serde_json::from_value(record.value["sample"].clone())
                .map(|sample| samples.entry(user).or_default().push(sample)),
            "W4.counted" => serde_json::from_value(record.value["sample"].clone()).map(|sample| {
                let said = |used: &str, granted: &str| Some(number(record, used)? + number(record, granted)?);
                match (said("used_size", "granted_size"), said("used_files", "granted_files")) {
                    (Some(bytes), Some(files)) => {
                        counts.entry(user).or_default().push(Counted { sample, bytes, files })
                    }
                    _ => findings.unknown.push(format!("record {}: what does the ledger say?", record.index)),
                }
            }),
            "W4.rest" => serde_json::from_value(record.value["rest"].clone()).map(|rest| {
                rests.insert(user, rest);
            }),
            _ => Ok(()),
        };
        if let Err(error) = read {
            findings.unknown.push(format!("record {}: {error}", record.index));
        }
    }
    for (user, quota) in &quotas {
        let unswept = unswept(user, operations);
        if unswept.iter().any(|(_, to)| *to == u64::MAX) {
            // Nothing behind that cut is judged: the recovery's own uploads should have ended it.
            findings
                .unknown
                .push(format!("{user}: not changed, or a node not heard, behind a power cut of the storage"));
        }
        let swept = |at: u64| !unswept.iter().any(|(from, to)| (*from..=*to).contains(&at));
        if let Some(samples) = samples.get_mut(user) {
            let all = samples.len();
            samples.retain(|sample| swept(sample.at_ns));
            let left_out = (all - samples.len()) as u64;
            findings.count("samples between a power cut of the storage and the next change", left_out);
        }
        if let Some(counts) = counts.get_mut(user) {
            counts.retain(|counted| swept(counted.sample.at_ns));
        }
        quota::samples(user, *quota, samples.get(user).map_or(&[], Vec::as_slice), &mut findings);
        quota::counted(user, counts.get(user).map_or(&[], Vec::as_slice), &mut findings);
        match rests.get(user) {
            Some(rest) => quota::at_rest(user, *quota, rest, &mut findings),
            None => findings.unknown.push(format!("{user}: nobody looked at it at rest")),
        }
        if quota.bytes != 0 {
            quota::refusals(user, *quota, &refusals(user, records, operations), &mut findings);
        }
    }
    findings
}

/// From each power cut of the storage to the answer of the account's first change behind it, once every node has answered again, so that
/// the epochs of before are over. Meanwhile what was unlinked in a staging folder without a sync may be there again beside what took its
/// room; whoever changes the account removes it first (`PROTOCOL.md` 8.5).
fn unswept(user: &str, operations: &[Operation]) -> Vec<(u64, u64)> {
    let answered = |one: &&Operation| one.f.starts_with("W4.") && one.is_ok();
    let changes = |one: &&Operation| {
        matches!(one.f.as_str(), "W4.put" | "W4.remove" | "W4.move") && one.is_ok() && text(one, "user") == user
    };
    let node = |one: &Operation| one.asked["node"].as_u64();
    let nodes: BTreeSet<u64> = operations.iter().filter(answered).filter_map(node).collect();
    let cuts = operations.iter().filter(|one| one.f == "nemesis.storage-power-cut");
    cuts.map(|cut| {
        let first = |of: u64| {
            let behind = operations.iter().filter(answered).filter(|one| one.invoked > cut.returned);
            behind.filter(|one| node(one) == Some(of)).map(|one| one.returned).min().unwrap_or(u64::MAX)
        };
        let all = nodes.iter().map(|of| first(*of)).max().unwrap_or(u64::MAX);
        let behind = operations.iter().filter(changes).filter(|one| one.invoked > all);
        (cut.invoked, behind.map(|one| one.returned).min().unwrap_or(u64::MAX))
    })
    .collect()
}

/// A field of what the ledger said; 64 bits are text in JSON.
fn number(record: &Record, name: &str) -> Option<u64> {
    let said = &record.value["said"][name];
    said.as_u64().or_else(|| said.as_str()?.parse().ok())
}

#[derive(serde::Deserialize)]
struct Named {
    bytes: u64,
    files: u64,
}

/// Refusals for want of room before the first fault and the first scan, and after the account was seen empty and at rest, each with
/// the most that may have been taken by uploads since. In between a refusal may be for what dead epochs hold until a scan, or for what
/// a scan under renames counted too much.
fn refusals(user: &str, records: &[Record], operations: &[Operation]) -> Vec<Refusal> {
    let empty = records.iter().filter(|one| one.f == "W4.calm" && one.value["user"] == user).map(|one| one.time);
    let empty: Vec<u64> = empty.collect();
    let stalls: Vec<Disturbance> = disturbances(records, &[]).into_iter().filter(|one| one.name == STALL).collect();
    let faults = operations.iter().filter(|one| one.f.starts_with("nemesis.") || one.f == "W4.scan");
    let first = faults.map(|one| one.invoked).min().unwrap_or(u64::MAX);
    let quiet = |from: u64, to: u64| (to < first || empty.iter().any(|at| *at < from)) && !disturbed(&stalls, from, to);
    let rest = recovered(operations);
    let puts: Vec<&Operation> =
        operations.iter().filter(|operation| operation.f == "W4.put" && text(operation, "user") == user).collect();
    let is_refusal = |operation: &&&Operation| {
        let over = operation.answer.as_str().is_some_and(|answer| answer.contains("quota"));
        operation.outcome == Kind::Fail && over && quiet(operation.invoked, operation.answered)
    };
    puts.iter()
        .filter(is_refusal)
        .map(|refused| {
            let since = empty.iter().copied().filter(|at| *at < refused.invoked).max().unwrap_or(0);
            let others = puts.iter().filter(|other| other.index != refused.index && other.invoked >= since);
            let possible = others.filter(|other| other.invoked <= refused.answered);
            let possible: Vec<_> = possible.filter(|other| gone(other, operations) >= refused.invoked).collect();
            let lost = possible.iter().any(|other| other.outcome == Kind::Info);
            // The suite's own look for the folder may be staged beside them.
            let possibly_used = possible.iter().map(|one| size(one)).sum::<u64>() + LONGEST_PROBE;
            let at_rest = rest.is_some_and(|rest| rest < refused.invoked);
            Refusal { at_ns: refused.invoked, size: size(refused), possibly_used, excused: lost, at_rest }
        })
        .collect()
}

fn size(put: &Operation) -> u64 {
    put.asked["size"].as_u64().unwrap_or(0)
}

/// When what an upload stored is certainly neither stored nor charged any more.
fn gone(put: &Operation, operations: &[Operation]) -> u64 {
    if put.outcome == Kind::Fail {
        return put.answered.saturating_add(CREDIT);
    }
    let later = operations.iter().filter(|other| {
        matches!(other.f.as_str(), "W4.put" | "W4.remove")
            && other.is_ok()
            && other.invoked > put.answered
            && text(other, "user") == text(put, "user")
            && text(other, "path") == text(put, "path")
    });
    let replaced = later.map(|other| other.returned.saturating_add(CREDIT)).min().unwrap_or(u64::MAX);
    if put.outcome == Kind::Info { u64::MAX } else { replaced }
}

/// What became of one path.
#[derive(Default)]
struct Path {
    writes: Vec<Write>,
    reads: Vec<Read>,
}

pub(super) fn check_files(operations: &[Operation]) -> Findings {
    files_of("W4 files", "W4.", false, operations)
}

/// Written by one session at a time: what came from an earlier one must not appear behind a later one's.
pub(super) fn check_exclusive(operations: &[Operation]) -> Findings {
    files_of("W5 files of one session at a time", "W5.", true, operations)
}

fn files_of(checker: &str, prefix: &str, exclusive: bool, operations: &[Operation]) -> Findings {
    let mut findings = Findings::new(checker);
    let mut paths: BTreeMap<String, Path> = BTreeMap::new();
    for operation in operations {
        let Some(what) = operation.f.strip_prefix(prefix) else { continue };
        let path = paths.entry(format!("{}{}", text(operation, "user"), text(operation, "path"))).or_default();
        let written = |content| Write { exclusive, ..write(operation, content) };
        match what {
            "put" => {
                closed(operation, &mut findings);
                path.writes.push(written(operation.asked["content"].as_u64()));
            }
            "remove" => path.writes.push(written(None)),
            "read" if operation.is_ok() => match serde_json::from_value(operation.answer["saw"].clone()) {
                Ok(saw) => path.reads.push(read(operation, saw)),
                Err(error) => findings.unknown.push(format!("record {}: {error}", operation.index)),
            },
            _ => {}
        }
    }
    for (name, path) in &paths {
        files::check(name, &path.writes, &path.reads, &mut findings);
        findings.count(
            "reads of whole contents",
            path.reads.iter().filter(|one| matches!(one.saw, Seen::Whole(_))).count() as u64,
        );
        findings.count(
            "uploads stored",
            path.writes.iter().filter(|one| one.returned != u64::MAX && !one.failed && one.content.is_some()).count()
                as u64,
        );
    }
    findings
}

/// Whoever was told that a WRITE failed is not told that the file is stored.
pub(super) fn closed(put: &Operation, findings: &mut Findings) {
    if let Some(failed) = put.answer["after_failed_write"].as_str() {
        let what = format!("{}: closed with OK after a failed write: {failed}", text(put, "path"));
        findings.violated("F-close", put.returned, what);
    }
}

pub(super) fn write(operation: &Operation, content: Option<u64>) -> Write {
    Write {
        content,
        invoked: operation.invoked,
        returned: operation.returned,
        failed: operation.outcome == Kind::Fail,
        exclusive: false,
    }
}

pub(super) fn read(operation: &Operation, saw: Saw) -> Read {
    let saw = match saw {
        Saw::Absent => Seen::Absent,
        Saw::Whole(content) => Seen::Whole(content),
        Saw::Broken(what) => Seen::Broken(what),
    };
    Read { saw, invoked: operation.invoked, returned: operation.returned }
}
