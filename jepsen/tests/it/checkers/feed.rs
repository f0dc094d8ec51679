//! The event feed: gaps, duplicates, different orders, phantoms, events that come too early.

use flotilla_jepsen::check::Findings;
use flotilla_jepsen::check::feed::{Change, Event, Subscription, check};

use super::rules;

fn event(number: u64, id: &str) -> Event {
    Event { number, hash: format!("h{number}"), id: id.into(), at_ns: number }
}
fn seen(after: u64, events: &[(u64, &str)]) -> Subscription {
    let events = events.iter().map(|(number, id)| event(*number, id)).collect();
    Subscription { name: format!("s{after}"), after, events, compacted_to: None }
}
fn change(id: &str, invoked: u64, returned: u64) -> Change {
    Change { id: id.into(), invoked, returned, failed: false }
}
fn found(subscriptions: &[Subscription], changes: &[Change], last: u64) -> Vec<&'static str> {
    let mut findings = Findings::new("feed");
    check(subscriptions, changes, last, &mut findings);
    rules(&findings)
}
fn changes() -> Vec<Change> {
    vec![change("a", 0, 10), change("b", 20, 30), change("c", 40, 50)]
}

#[test]
fn a_full_and_a_resumed_subscription_agree() {
    let all = [seen(0, &[(1, "a"), (2, "b"), (3, "c")]), seen(1, &[(2, "b"), (3, "c")])];
    assert!(found(&all, &changes(), 3).is_empty());
}

#[test]
fn gaps_repetitions_and_early_ends_are_found() {
    assert_eq!(found(&[seen(0, &[(1, "a"), (3, "c")])], &changes(), 3), ["E-gap", "E-reliable"]);
    assert_eq!(found(&[seen(0, &[(1, "a"), (2, "b"), (2, "b"), (3, "c")])], &changes(), 3), ["E-unique"]);
    assert_eq!(found(&[seen(0, &[(1, "a"), (2, "b")])], &changes(), 3), ["E-missing", "E-reliable"]);
}

#[test]
fn compaction_excuses_only_what_it_announces() {
    let told = Subscription { compacted_to: Some(3), ..seen(0, &[(3, "c")]) };
    assert!(found(&[told, seen(0, &[(1, "a"), (2, "b"), (3, "c")])], &changes(), 3).is_empty());
}

#[test]
fn subscribers_that_see_different_events_are_found() {
    let mut other = seen(0, &[(1, "a"), (2, "b"), (3, "c")]);
    other.events[1].hash = "different".into();
    assert_eq!(found(&[seen(0, &[(1, "a"), (2, "b"), (3, "c")]), other], &changes(), 3), ["E-equal"]);
}

#[test]
fn one_change_has_one_event() {
    let twice = [seen(0, &[(1, "a"), (2, "b"), (3, "b"), (4, "c")])];
    assert_eq!(found(&twice, &changes(), 4), ["E-unique"]);
    let failed = [changes(), vec![Change { failed: true, ..change("d", 60, 70) }]].concat();
    assert_eq!(found(&[seen(0, &[(1, "a"), (2, "b"), (3, "c"), (4, "d")])], &failed, 4), ["E-phantom"]);
    let lost = [changes(), vec![change("d", 60, u64::MAX)]].concat();
    assert!(found(&[seen(0, &[(1, "a"), (2, "b"), (3, "c"), (4, "d")])], &lost, 4).is_empty());
    assert!(found(&[seen(0, &[(1, "a"), (2, "b"), (3, "c")])], &lost, 3).is_empty());
}

#[test]
fn events_keep_the_order_of_time() {
    assert_eq!(found(&[seen(0, &[(1, "b"), (2, "a"), (3, "c")])], &changes(), 3), ["E-time"]);
}
