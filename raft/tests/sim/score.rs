//! It can fail: bugs planted one at a time must be found, each within the time, in the median of five seeds.
//!
//! Times are the processor's: what a run takes on a machine that does nothing else.

use std::process::ExitCode;
use std::time::Duration;

use crate::batch::{Batch, Bound};

/// Bugs that live below the sessions' and storages' code: what this ring is to find.
pub const BUGS: [&str; 11] = [
    "no-sync",
    "vote-not-written",
    "stale-read",
    "round-shared-late",
    "double-apply",
    "slot-leak",
    "close-before-open",
    "answer-before-apply",
    "leader-restored",
    "extension-from-apply",
    "lease-read",
];

/// Looks for one planted bug. Prints how long it took; fails if it was not found.
pub fn hunt(bug: &str, seed: u64, seconds: u64) -> ExitCode {
    if found(bug, seed, seconds).is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The seconds until a planted bug was found, if it was. Each hunt has seeds of its own.
fn found(bug: &str, hunt: u64, seconds: u64) -> Option<f64> {
    let bound = Bound::Processor(Duration::from_secs(seconds));
    let (sum, failed) = Batch { first: hunt * 1_000_000, bound, at_once: 1, bug }.run();
    let took = sum.processor().as_secs_f64();
    let Some(outcome) = failed else {
        println!("  {bug} {hunt}: not found in {} runs", sum.runs);
        return None;
    };
    let what = outcome.violation.unwrap_or_default();
    println!("  {bug} {hunt}: {took:.1} s, {} runs, seed {}: {what}", sum.runs, outcome.seed);
    // A run that did not come to its end has no trace, and has found nothing.
    (!outcome.trace.is_empty()).then_some(took)
}

/// Each bug with five seeds; the median must lie within the time.
pub fn score(seconds: u64, only: &[&str]) -> ExitCode {
    if !cfg!(feature = "planted-bugs") {
        eprintln!("this build has no planted bugs: `make sim-mutants`");
        return ExitCode::from(2);
    }
    let bugs: Vec<&str> = if only.is_empty() { BUGS.to_vec() } else { only.to_vec() };
    let mut caught = 0;
    for bug in &bugs {
        let mut times: Vec<Option<f64>> = (1..=5).map(|hunt| found(bug, hunt, seconds)).collect();
        times.sort_by(|one, two| one.unwrap_or(f64::MAX).total_cmp(&two.unwrap_or(f64::MAX)));
        let median = times[times.len() / 2];
        caught += usize::from(median.is_some());
        let shown: Vec<String> =
            times.iter().map(|time| time.map_or("-".to_owned(), |time| format!("{time:.1}"))).collect();
        println!(
            "{bug}: median {} s of {}",
            median.map_or("-".to_owned(), |time| format!("{time:.1}")),
            shown.join(" ")
        );
    }
    println!("{caught} of {} planted bugs found", bugs.len());
    if caught == bugs.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
