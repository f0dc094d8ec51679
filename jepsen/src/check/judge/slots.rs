//! W2: sessions, refusals and limits out of a history.

use std::collections::{BTreeMap, BTreeSet};

use super::faults::{Disturbance, disturbances, disturbed, recovered};
use super::text;
use crate::check::Findings;
use crate::check::slots::{Limit, Refusal, Session, safe, spurious};
use crate::history::{Kind, Operation, Record};

/// A slot given back in order is free when the client has seen the connection end, but for the closing that is on its way.
const CLOSING: u64 = 1_000_000_000;
/// A slot whose connection was dropped, or that a fault has touched, is free after its lease, its probing and its waiting at the latest.
const LOST: u64 = 20_000_000_000;
/// Once all nodes are ready no lease of a lost session is left: its connection is probed, and closed.
const LOST_AT_REST: u64 = 8_000_000_000;

/// Everything of one user.
#[derive(Default)]
struct User {
    limits: Vec<Limit>,
    sessions: Vec<Session>,
    refusals: Vec<Refusal>,
}

pub(super) fn check(records: &[Record], operations: &[Operation]) -> Findings {
    let mut findings = Findings::new("W2 session slots");
    let mut users: BTreeMap<String, User> = BTreeMap::new();
    for record in records.iter().filter(|record| record.f == "W2.limit") {
        let user = record.value["user"].as_str().unwrap_or_default().to_owned();
        let Some(max_sessions) = record.value["max_sessions"].as_u64() else {
            findings.unknown.push(format!("record {} names no limit", record.index));
            continue;
        };
        users.entry(user).or_default().limits.push(Limit { max_sessions, from: 0, until: u64::MAX });
    }
    let (faults, rest) = (disturbances(records, operations), recovered(operations));
    let mut by_session: BTreeMap<u64, Vec<&Operation>> = BTreeMap::new();
    for operation in operations.iter().filter(|operation| operation.f.starts_with("W2.")) {
        by_session.entry(operation.session()).or_default().push(operation);
    }
    for (process, operations) in &by_session {
        // One login and, if it was let in, its session.
        let Some(acquire) = operations.iter().find(|operation| operation.f == "W2.acquire") else { continue };
        let user = users.entry(text(acquire, "user").to_owned()).or_default();
        if acquire.outcome == Kind::Fail && acquire.answer.get("limit").is_some() {
            user.refusals.push(Refusal {
                asked: acquire.invoked,
                answered: acquire.answered,
                at_rest: rest.is_some_and(|rest| rest < acquire.invoked),
            });
        } else if acquire.answer["denied"] == true {
            let what = format!("{}: the right password was denied", text(acquire, "user"));
            findings.violated("S-denied", acquire.answered, what);
        } else {
            user.sessions.push(session(*process, acquire, operations, &faults, rest));
        }
    }
    let served: BTreeSet<u64> = by_session
        .iter()
        .filter(|(_, operations)| operations.iter().any(|one| one.f == "W2.ask" && one.is_ok()))
        .map(|(process, _)| *process)
        .collect();
    findings.count("sessions that served", served.len() as u64);
    for (name, user) in &users {
        safe(name, &user.sessions, &user.limits, &mut findings);
        spurious(name, &user.refusals, &user.sessions, &user.limits, &mut findings);
    }
    findings
}

fn session(
    process: u64,
    acquire: &Operation,
    operations: &[&Operation],
    faults: &[Disturbance],
    rest: Option<u64>,
) -> Session {
    let answered = operations.iter().filter(|one| one.f == "W2.ask" && one.is_ok());
    let last_asked = answered.map(|one| one.invoked).max().unwrap_or(acquire.returned.min(acquire.answered));
    let end = operations.iter().map(|one| one.answered).max().unwrap_or(u64::MAX);
    let release = operations.iter().find(|one| one.f == "W2.release" && one.is_ok());
    let left_in_order = release.is_some_and(|one| !disturbed(faults, one.invoked, end));
    let lost = rest.map_or(u64::MAX, |rest| rest.max(end).saturating_add(LOST_AT_REST)).min(end.saturating_add(LOST));
    let left_by = end.saturating_add(CLOSING);
    Session {
        name: format!("process {process} on node {}", acquire.asked["node"]),
        asked: acquire.invoked,
        served: acquire.is_ok().then_some(acquire.returned),
        last_asked,
        left_by,
        gone_by: if left_in_order { left_by } else { lost },
    }
}
