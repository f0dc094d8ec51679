//! W6 and W7 out of a history: the events that followers and pages showed, against the changes and their repetitions.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::text;
use crate::check::Findings;
use crate::check::feed::{Change, Event, Subscription, check};
use crate::history::{Kind, Operation, Record};

/// The event that all must have seen.
const END: &str = "folder_created:w6-end";

#[derive(Deserialize)]
struct Begin {
    name: String,
    after: u64,
    #[serde(default)]
    compacted_to: Option<u64>,
}

#[derive(Deserialize)]
struct Seen {
    name: String,
    events: Vec<(u64, String, String)>,
}

pub(super) fn of(records: &[Record], operations: &[Operation]) -> Findings {
    let mut findings = Findings::new("W6 events, W7 repeated requests");
    let subscriptions = subscriptions(records, &mut findings);
    let events = || subscriptions.iter().flat_map(|one| &one.events);
    let end = events().filter(|event| event.id == END).map(|event| event.number).max();
    let changes: Vec<Change> =
        operations.iter().filter(|one| one.f == "W6.change").map(|one| change(one, &mut findings)).collect();
    findings.count("changes", changes.iter().filter(|one| one.returned != u64::MAX && !one.failed).count() as u64);
    match end {
        Some(end) => check(&subscriptions, &changes, end, &mut findings),
        // A history that was cut short: what was seen so far must be in order, nothing must be complete.
        None => {
            findings.unknown.push("the last change was seen by nobody".to_owned());
            check(&subscriptions, &[], 0, &mut findings);
        }
    }
    again(operations, &mut findings);
    findings
}

fn subscriptions(records: &[Record], findings: &mut Findings) -> Vec<Subscription> {
    let mut found: BTreeMap<String, Subscription> = BTreeMap::new();
    for record in records.iter().filter(|record| record.process == 0) {
        let read = match record.f.as_str() {
            "W6.subscribe" => {
                serde_json::from_value(record.value.clone()).map(|Begin { name, after, compacted_to }| {
                    let new = Subscription { name: name.clone(), after, events: Vec::new(), compacted_to };
                    found.insert(name, new);
                })
            }
            "W6.events" => serde_json::from_value(record.value.clone()).map(|Seen { name, events }| {
                if let Some(one) = found.get_mut(&name) {
                    let at_ns = record.time;
                    let events = events.into_iter();
                    one.events.extend(events.map(|(number, hash, id)| Event { number, hash, id, at_ns }));
                }
                findings.count("batches of events", 1);
            }),
            "W6.error" => {
                findings.count("streams ended with an error", 1);
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(error) = read {
            findings.unknown.push(format!("record {}: {error}", record.index));
        }
    }
    found.into_values().collect()
}

fn change(operation: &Operation, findings: &mut Findings) -> Change {
    let status = operation.answer["status"].as_u64().unwrap_or(0);
    let done = operation.is_ok() && (200..300).contains(&status);
    if operation.is_ok() && !done {
        // Its names are its own, and it asks one thing at a time: nothing but itself can have come before.
        let what = format!("{}: told {status} of a name that nobody else uses", text(operation, "id"));
        findings.violated("I-once", operation.invoked, what);
    }
    Change {
        id: text(operation, "id").to_owned(),
        invoked: operation.invoked,
        returned: if done { operation.returned } else { u64::MAX },
        failed: operation.outcome == Kind::Fail,
    }
}

/// W7: what was answered once is answered the same again.
fn again(operations: &[Operation], findings: &mut Findings) {
    let of = |name: &'static str| operations.iter().filter(move |one| one.f == name && one.is_ok());
    let first: BTreeMap<&str, &Operation> = of("W6.change").map(|one| (text(one, "request"), one)).collect();
    for repeated in of("W6.again") {
        findings.count("repetitions answered", 1);
        if let Some(first) = first.get(text(repeated, "request"))
            && first.answer != repeated.answer
        {
            let what = format!("{}: told {}, then {}", text(repeated, "id"), first.answer, repeated.answer);
            findings.violated("I-same", repeated.invoked, what);
        }
    }
}
