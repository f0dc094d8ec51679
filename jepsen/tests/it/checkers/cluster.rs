//! What always holds: leaders, hashes, terms, applied indices, descriptors, panics.

use flotilla_jepsen::check::cluster::{EXIT, Exit, PANIC, RESOURCES, Resources, VIEW, View, check};
use flotilla_jepsen::history::{Kind, Record};
use serde_json::{Value, json};

use super::rules;

fn records(values: Vec<(&str, Value)>) -> Vec<Record> {
    let record = |(index, (f, value)): (u64, (&str, Value))| Record {
        index,
        kind: Kind::Ok,
        f: f.into(),
        process: 0,
        time: index,
        value,
    };
    (0..).zip(values).map(record).collect()
}
fn view(node: u64, term: u64, leader: u64, applied: u64, hash: &str) -> (&'static str, Value) {
    let hash = Some(hash.into());
    (VIEW, json!(View { node, start: 1, term, leader: Some(leader), applied, hash, asked_ns: 0 }))
}
fn found(values: Vec<(&str, Value)>) -> Vec<&'static str> {
    rules(&check(&records(values)))
}

#[test]
fn agreeing_views_pass_and_are_counted() {
    let findings = check(&records(vec![view(1, 1, 1, 5, "a"), view(2, 1, 1, 5, "a"), view(2, 2, 2, 6, "b")]));
    assert!(findings.is_valid());
    assert_eq!(findings.counts["states compared"], 1);
}

#[test]
fn two_leaders_of_a_term_and_different_states_are_found() {
    assert_eq!(found(vec![view(1, 1, 1, 5, "a"), view(2, 1, 2, 6, "b")]), ["C-leader"]);
    assert_eq!(found(vec![view(1, 1, 1, 5, "a"), view(2, 1, 1, 5, "b")]), ["C-hash"]);
}

#[test]
fn terms_and_applied_indices_do_not_go_back() {
    assert_eq!(found(vec![view(1, 2, 1, 5, "a"), view(1, 1, 3, 6, "b")]), ["C-term"]);
    assert_eq!(found(vec![view(1, 1, 1, 5, "a"), view(1, 1, 1, 4, "b")]), ["C-applied"]);
}

/// Records stand at times 0, 1, 2: the last answer, 4, was asked for at time 1 or 2; 5 had been answered at time 1.
#[test]
fn answers_that_overlap_may_come_in_any_order() {
    let last = |asked_ns| {
        let (name, mut value) = view(1, 1, 1, 4, "b");
        value["asked_ns"] = json!(asked_ns);
        found(vec![view(2, 1, 1, 1, "c"), view(1, 1, 1, 5, "a"), (name, value)])
    };
    assert!(last(1).is_empty());
    assert_eq!(last(2), ["C-applied"]);
}

#[test]
fn a_process_that_ends_is_a_violation_unless_it_was_asked_to_or_its_disk_failed() {
    let exit = |excuse: Option<&str>, well| {
        let excuse = excuse.map(str::to_owned);
        (EXIT, json!(Exit { node: 1, start: 2, status: "exit status".into(), well, excuse }))
    };
    assert_eq!(found(vec![exit(None, true)]), ["C-exit"]);
    assert_eq!(found(vec![exit(None, false)]), ["C-exit"]);
    assert_eq!(found(vec![exit(Some("asked"), false)]), ["C-exit"]);
    assert!(found(vec![exit(Some("asked"), true), exit(Some("sync-error"), false)]).is_empty());
}

#[test]
fn leaked_descriptors_panics_and_unreadable_observations_are_found() {
    let at_rest = |descriptors| (RESOURCES, json!(Resources { node: 1, start: 1, descriptors, resident_kib: 1000 }));
    assert!(found(vec![at_rest(50), at_rest(60)]).is_empty());
    assert_eq!(found(vec![at_rest(50), at_rest(61)]), ["C-descriptors"]);
    assert_eq!(found(vec![(PANIC, json!("panicked at"))]), ["C-panic"]);
    assert_eq!(check(&records(vec![(VIEW, json!({"node": 1}))])).unknown.len(), 1);
}
