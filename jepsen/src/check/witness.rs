//! Linearizability with the log as witness: each answer names the log index at which it holds. O(n log n).
//!
//! Sound where indices are honest: the answers must be what a replay in the order of indices gives, and the order of indices
//! must not contradict the order in time.

use std::collections::HashSet;

use super::linear::Model;
use super::{Findings, Violation};

/// An answered operation that named its log index.
#[derive(Clone, Debug)]
pub struct Witnessed<Op> {
    pub op: Op,
    /// Index of the entry that made the change; for a read the index at which the state was looked at.
    pub at: u64,
    pub writes: bool,
    pub invoked: u64,
    /// `u64::MAX` for a change whose answer was lost, but whose index is known from a later read.
    pub returned: u64,
}

/// Changes of one key in one log entry whose order is not known: all orders are tried up to this many.
const GROUPED: usize = 6;

/// Checks one key. `name` and `show` are for the texts of violations.
pub fn check<M: Model>(
    model: &M,
    key: &str,
    calls: &[Witnessed<M::Op>],
    show: impl Fn(&M::Op, &M::State) -> String,
    findings: &mut Findings,
) {
    findings.checked += calls.len() as u64;
    findings.violations.extend(against_time(key, calls));
    let mut order: Vec<&Witnessed<M::Op>> = calls.iter().collect();
    order.sort_by_key(|call| (call.at, !call.writes, call.invoked));
    // More than one only after changes in one entry whose order the answers leave open.
    let mut states = vec![model.initial()];
    let mut rest = order.as_slice();
    while let Some(first) = rest.first() {
        let together = rest.iter().take_while(|call| call.writes && call.at == first.at).count();
        if together > GROUPED {
            findings.unknown.push(format!("{key}: {together} changes in entry {}", first.at));
            return;
        }
        let group = &rest[..together.max(1)];
        rest = &rest[group.len()..];
        let mut next = HashSet::new();
        for state in &states {
            every_order(model, state, group, &mut next);
        }
        if next.is_empty() {
            let text = format!("{key}, log index {}: {}", first.at, show(&first.op, &states[0]));
            findings.violated("witness", first.invoked, text);
            return;
        }
        states = next.into_iter().collect();
    }
}

/// The states after the group in every legal order.
fn every_order<M: Model>(model: &M, state: &M::State, group: &[&Witnessed<M::Op>], found: &mut HashSet<M::State>) {
    if group.is_empty() {
        found.insert(state.clone());
    }
    for at in 0..group.len() {
        if let Some(next) = model.step(state, &group[at].op) {
            let others: Vec<_> =
                group.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, call)| *call).collect();
            every_order(model, &next, &others, found);
        }
    }
}

/// `a` was answered before `b` was asked, so b's index is not lower, and higher if b is a change.
fn against_time<Op>(key: &str, calls: &[Witnessed<Op>]) -> Vec<Violation> {
    let mut by_return: Vec<&Witnessed<Op>> = calls.iter().filter(|call| call.returned != u64::MAX).collect();
    by_return.sort_by_key(|call| call.returned);
    let mut by_invocation: Vec<&Witnessed<Op>> = calls.iter().collect();
    by_invocation.sort_by_key(|call| call.invoked);
    let mut returned = by_return.into_iter().peekable();
    let mut highest = 0;
    let mut found = Vec::new();
    for call in by_invocation {
        while let Some(before) = returned.next_if(|before| before.returned < call.invoked) {
            highest = highest.max(before.at);
        }
        if call.at < highest || (call.writes && highest != 0 && call.at == highest) {
            let text =
                format!("{key}: answered at index {} although index {highest} had been answered before", call.at);
            found.push(Violation { rule: "witness-time", text, at_ns: call.invoked });
        }
    }
    found
}
