//! Checkers: pure functions from a history to findings. A run is green only if every finding is clean and nothing is unknown.

pub mod cluster;
pub mod feed;
pub mod files;
pub mod judge;
pub mod linear;
pub mod quota;
pub mod revocation;
pub mod slots;
pub mod users;
pub mod witness;

use std::collections::BTreeMap;

use serde::Serialize;

/// A rule that a history breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Short name of the rule: `S-safe`, `Q-bytes`.
    pub rule: &'static str,
    /// What happened, with its numbers.
    pub text: String,
    /// Nanoseconds since the run began, to look at in the report.
    pub at_ns: u64,
}

/// What one checker says of one history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    pub checker: String,
    /// Operations or observations looked at.
    pub checked: u64,
    pub violations: Vec<Violation>,
    /// What could not be decided. Fails a run as much as a violation.
    pub unknown: Vec<String>,
    /// How often what the checker needs to be able to fail was there: pauses, refusals, overlaps.
    pub counts: BTreeMap<String, u64>,
}

/// A checker stops telling after this many violations of one history.
const TELL: usize = 50;

/// Of the refusals that were judged, those after the last fault: a run must have some, for only those see what faults left.
pub const JUDGED_AT_REST: &str = "refusals judged after the recovery";

impl Findings {
    pub fn new(checker: &str) -> Findings {
        Findings { checker: checker.to_owned(), ..Findings::default() }
    }

    pub fn violated(&mut self, rule: &'static str, at_ns: u64, text: impl Into<String>) {
        if self.violations.len() < TELL {
            self.violations.push(Violation { rule, text: text.into(), at_ns });
        }
        *self.counts.entry("violations".into()).or_default() += 1;
    }

    pub fn count(&mut self, what: &str, number: u64) {
        *self.counts.entry(what.to_owned()).or_default() += number;
    }

    /// Clean and decided.
    pub fn is_valid(&self) -> bool {
        self.violations.is_empty() && self.unknown.is_empty()
    }

    /// Fails as unknown if something the checker needs happened less than `least` times: the test would have been vacuous.
    pub fn require(&mut self, what: &str, least: u64) {
        let seen = self.counts.get(what).copied().unwrap_or(0);
        if seen < least {
            self.unknown.push(format!("vacuous: {what} happened {seen} times, at least {least} are needed"));
        }
    }
}
