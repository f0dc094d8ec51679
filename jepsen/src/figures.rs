//! Times out of histories, for results pages: how long clients waited for a new leader, and for a revocation's reply.

use std::collections::BTreeMap;

use crate::check::judge::disturbances;
use crate::history::{Operation, Record};

/// Milliseconds, by what they are of.
pub type Figures = BTreeMap<String, Vec<u64>>;

const FAILOVER: &str = "leader killed until the next change is acknowledged";
const REVOKED: &str = "revocation, nothing disturbed";
const REVOKED_DISTURBED: &str = "revocation under faults";

pub fn of(records: &[Record], operations: &[Operation]) -> Figures {
    let mut figures = Figures::new();
    let mut add = |name: &str, ns: u64| figures.entry(name.to_owned()).or_default().push(ns / 1_000_000);
    let changes = |one: &&Operation| {
        one.is_ok() && matches!(one.f.as_str(), "W1.create" | "W1.update" | "W1.delete" | "W6.change")
    };
    for kill in operations.iter().filter(|one| one.answer["leader"] == true) {
        let Some(killed) = kill.answer["killed_ns"].as_u64() else { continue };
        let next = operations.iter().filter(changes).filter(|one| one.invoked >= killed);
        if let Some(answered) = next.map(|one| one.returned).min() {
            add(FAILOVER, answered - killed);
        }
    }
    let faults = disturbances(records, operations);
    for one in operations.iter().filter(|one| one.f == "W3.revoke" && one.is_ok()) {
        let disturbed = faults.iter().any(|fault| fault.from <= one.returned && one.invoked <= fault.to);
        add(if disturbed { REVOKED_DISTURBED } else { REVOKED }, one.returned - one.invoked);
    }
    figures
}

/// The share of values at or below it; values in any order.
pub fn percentile(values: &[u64], share: f64) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let at = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<u64> = (1..=100).rev().collect();
        assert_eq!([0.5, 0.99, 1.0].map(|share| percentile(&values, share)), [50, 99, 100]);
        assert_eq!(percentile(&[7], 0.5), 7);
        assert_eq!(percentile(&[], 0.5), 0);
    }
}
