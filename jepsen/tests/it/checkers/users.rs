//! Users and logins: stale reads, lost updates, logins with what is no longer the password, lost answers.

use flotilla_jepsen::check::Findings;
use flotilla_jepsen::check::linear::Budget;
use flotilla_jepsen::check::users::{Ask, Told, check};
use flotilla_jepsen::history::{Kind, Operation};
use serde_json::json;

use super::rules;

/// An operation from `invoked` to `returned`; `None`: answered with "not known".
fn op(invoked: u64, returned: u64, ask: Ask, told: Option<Told>) -> Operation {
    Operation {
        index: invoked,
        f: "W1.op".into(),
        process: 1,
        asked: json!(ask),
        invoked,
        outcome: if told.is_some() { Kind::Ok } else { Kind::Info },
        returned: if told.is_some() { returned } else { u64::MAX },
        answered: returned,
        answer: json!(told),
    }
}
fn user() -> String {
    "u".into()
}
fn create(value: u64) -> Ask {
    Ask::Create { user: user(), value, enabled: true }
}
fn update(value: u64, expect: Option<u64>) -> Ask {
    Ask::Update { user: user(), value, enabled: true, expect }
}
fn disable(value: u64) -> Ask {
    Ask::Update { user: user(), value, enabled: false, expect: None }
}
fn get() -> Ask {
    Ask::Get { user: user(), node: 1 }
}
fn login(value: u64) -> Ask {
    Ask::Login { user: user(), value, node: 1 }
}
fn done(index: u64) -> Option<Told> {
    Some(Told::Done { index })
}
fn saw(value: u64, revision: u64, index: u64) -> Option<Told> {
    Some(Told::Found { value, enabled: true, revision, index })
}
fn findings(operations: &[Operation]) -> Findings {
    check(operations, Budget::default())
}
fn found(operations: &[Operation]) -> Vec<&'static str> {
    rules(&findings(operations))
}

#[test]
fn a_life_of_a_user_passes() {
    let life = [
        op(0, 1, get(), Some(Told::Absent { index: Some(3) })),
        op(2, 3, create(1), done(5)),
        op(4, 5, login(1), Some(Told::LoggedIn)),
        op(6, 7, update(2, Some(5)), done(8)),
        op(8, 9, update(3, Some(5)), Some(Told::Stale)),
        op(10, 11, login(1), Some(Told::Denied)),
        op(12, 13, create(4), Some(Told::Exists)),
        op(14, 15, get(), saw(2, 8, 9)),
        op(16, 17, Ask::Delete { user: user(), expect: Some(8) }, done(10)),
        op(18, 19, login(2), Some(Told::Denied)),
    ];
    let findings = findings(&life);
    assert!(findings.is_valid(), "{findings:?}");
    assert_eq!((findings.counts["users"], findings.counts["logins"]), (1, 3));
}

#[test]
fn a_stale_read_is_found_by_both_tiers() {
    let stale = [op(0, 1, create(1), done(5)), op(2, 3, update(2, None), done(6)), op(4, 5, get(), saw(1, 5, 5))];
    assert_eq!(found(&stale), ["witness-time", "linearizable"]);
    // A node that claims a fresh index for an old state is found by the replay.
    let lying = [op(0, 1, create(1), done(5)), op(2, 3, update(2, None), done(6)), op(4, 5, get(), saw(1, 5, 7))];
    assert_eq!(found(&lying), ["witness", "linearizable"]);
}

#[test]
fn a_lost_update_is_found() {
    let lost =
        [op(0, 1, create(1), done(5)), op(2, 3, update(2, Some(5)), done(6)), op(4, 5, update(3, Some(5)), done(7))];
    assert_eq!(found(&lost), ["witness", "linearizable"]);
}

#[test]
fn logins_are_as_fresh_as_changes() {
    let old =
        [op(0, 1, create(1), done(5)), op(2, 3, update(2, None), done(6)), op(4, 5, login(1), Some(Told::LoggedIn))];
    assert_eq!(found(&old), ["linearizable"]);
    let disabled =
        [op(0, 1, create(1), done(5)), op(2, 3, disable(2), done(6)), op(4, 5, login(2), Some(Told::LoggedIn))];
    assert_eq!(found(&disabled), ["linearizable"]);
    let denied = [op(0, 1, create(1), done(5)), op(4, 5, login(1), Some(Told::Denied))];
    assert_eq!(found(&denied), ["linearizable"], "a refusal because the node lagged");
    let meanwhile =
        [op(0, 1, create(1), done(5)), op(2, 9, update(2, None), done(6)), op(4, 5, login(1), Some(Told::LoggedIn))];
    assert!(found(&meanwhile).is_empty());
}

#[test]
fn a_change_whose_answer_was_lost_may_show_later_or_never() {
    let lost = |seen| [op(0, 1, create(1), done(5)), op(2, 3, update(2, None), None), op(40, 50, get(), seen)];
    assert!(found(&lost(saw(1, 5, 7))).is_empty());
    assert!(found(&lost(saw(2, 6, 7))).is_empty());
    let back = [lost(saw(2, 6, 7)).to_vec(), vec![op(60, 70, get(), saw(1, 5, 8))]].concat();
    assert_eq!(found(&back), ["witness", "linearizable"]);
}

#[test]
fn a_failed_change_is_never_read() {
    let mut failed = op(2, 3, update(2, None), None);
    failed.outcome = Kind::Fail;
    let operations = [op(0, 1, create(1), done(5)), failed, op(4, 5, get(), saw(2, 6, 7))];
    assert!(found(&operations).contains(&"aborted-read"));
}

#[test]
fn two_changes_in_one_entry_may_have_either_order() {
    let grouped = [
        op(0, 1, create(1), done(5)),
        op(2, 9, update(2, None), done(6)),
        op(2, 9, update(3, None), done(6)),
        op(10, 11, get(), saw(2, 6, 7)),
    ];
    assert!(found(&grouped).is_empty(), "{:?}", findings(&grouped));
}
