//! P6, one history: events as subscribers saw them.

use std::collections::BTreeMap;

use super::Findings;

/// An event as it arrived at a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub number: u64,
    /// Of the event and all before it.
    pub hash: String,
    /// What it names: the id that the command carried.
    pub id: String,
    pub at_ns: u64,
}

/// One subscription: it asked for what comes after `after`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub name: String,
    pub after: u64,
    pub events: Vec<Event>,
    /// What lay below was compacted, and it was told so: the first number that is left.
    pub compacted_to: Option<u64>,
}

/// A change that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub id: String,
    pub invoked: u64,
    /// `u64::MAX`: not known whether it happened.
    pub returned: u64,
    pub failed: bool,
}

/// All rules. `last` is the number of the last event that every subscription should have seen.
pub fn check(subscriptions: &[Subscription], changes: &[Change], last: u64, findings: &mut Findings) {
    let mut known: BTreeMap<u64, (&Event, &str)> = BTreeMap::new();
    for subscription in subscriptions {
        findings.checked += subscription.events.len() as u64;
        gapless(subscription, last, findings);
        for event in &subscription.events {
            let (first, whose) = known.entry(event.number).or_insert((event, &subscription.name));
            if first.hash != event.hash || first.id != event.id {
                let text = format!(
                    "event {} is {}/{} to {} and {}/{} to {whose}",
                    event.number, event.id, event.hash, subscription.name, first.id, first.hash
                );
                findings.violated("E-equal", event.at_ns, text);
            }
        }
    }
    let mut numbers: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (number, (event, _)) in &known {
        numbers.entry(&event.id).or_default().push(*number);
    }
    changed(changes, &numbers, findings);
    against_time(changes, &numbers, findings);
}

/// Strictly by one, from where it asked, or from where compaction was announced; up to the last.
fn gapless(subscription: &Subscription, last: u64, findings: &mut Findings) {
    let mut expected = subscription.compacted_to.unwrap_or(subscription.after + 1);
    for event in &subscription.events {
        if event.number != expected {
            let rule = if event.number < expected { "E-unique" } else { "E-gap" };
            let text = format!("{}: event {} where {expected} was due", subscription.name, event.number);
            findings.violated(rule, event.at_ns, text);
        }
        expected = event.number + 1;
    }
    if expected <= last {
        findings.violated("E-missing", 0, format!("{} ends before {expected}, the last is {last}", subscription.name));
    }
}

/// An acknowledged change has one event, a failed one none, an uncertain one at most one; no event without a change.
fn changed(changes: &[Change], numbers: &BTreeMap<&str, Vec<u64>>, findings: &mut Findings) {
    for change in changes {
        let times = numbers.get(change.id.as_str()).map_or(0, Vec::len);
        let acknowledged = !change.failed && change.returned != u64::MAX;
        let text = format!("change {} has {times} events", change.id);
        if times > 1 {
            findings.violated("E-unique", change.invoked, text);
        } else if times == 0 && acknowledged {
            findings.violated("E-reliable", change.invoked, format!("{text}, it was acknowledged"));
        } else if times == 1 && change.failed {
            findings.violated("E-phantom", change.invoked, format!("{text}, it had failed for certain"));
        }
    }
}

/// Answered before another was asked: its event comes first.
fn against_time(changes: &[Change], numbers: &BTreeMap<&str, Vec<u64>>, findings: &mut Findings) {
    let number = |change: &Change| numbers.get(change.id.as_str()).and_then(|numbers| numbers.first()).copied();
    let mut returned: Vec<&Change> =
        changes.iter().filter(|change| change.returned != u64::MAX && !change.failed).collect();
    returned.sort_by_key(|change| change.returned);
    let mut asked: Vec<&Change> = changes.iter().collect();
    asked.sort_by_key(|change| change.invoked);
    let mut before = returned.into_iter().peekable();
    let mut highest = 0;
    for change in asked {
        while let Some(done) = before.next_if(|done| done.returned < change.invoked) {
            highest = highest.max(number(done).unwrap_or(0));
        }
        if number(change).is_some_and(|number| number < highest) {
            let text = format!("change {} comes before event {highest}, which was acknowledged before it", change.id);
            findings.violated("E-time", change.invoked, text);
        }
    }
}
