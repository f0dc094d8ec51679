//! The checkers can fail: each against histories that must pass and histories that must not.

mod cluster;
mod feed;
mod files;
mod history;
mod linear;
mod quota;
mod report;
mod revocation;
mod slots;
mod switch;
mod users;
mod whole;

use flotilla_jepsen::check::Findings;

/// The rules that were violated, in order.
fn rules(findings: &Findings) -> Vec<&'static str> {
    findings.violations.iter().map(|violation| violation.rule).collect()
}
