//! It can fail: bugs planted one at a time must be found, each within the time, in the median of five seeds.
//!
//! Times are the processor's: what a run takes on a machine that does nothing else.
//!
//! A bug is planted once per process, so each hunt is a process of its own.

use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::{Sum, seeds};

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
    #[cfg(feature = "planted-bugs")]
    if bug != "none" && !flotilla_model::planted::plant(bug) {
        eprintln!("no such bug: {bug}; there are {:?}", flotilla_model::planted::NAMES);
        return ExitCode::from(2);
    }
    let mut sum = Sum::default();
    // Each hunt has seeds of its own.
    let failed = seeds(seed * 1_000_000, Duration::from_secs(seconds), 1, &mut sum);
    let took = crate::used(1).as_secs_f64();
    match failed {
        Some(outcome) => {
            let what = outcome.violation.unwrap_or_default();
            println!("{took:.1} s, {} runs, seed {}: {what}", sum.runs, outcome.seed);
            ExitCode::SUCCESS
        }
        None => {
            println!("not found in {} runs", sum.runs);
            ExitCode::FAILURE
        }
    }
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
        let mut times: Vec<Option<f64>> = (1..=5).map(|seed| one(bug, seed, seconds)).collect();
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

fn one(bug: &str, seed: u64, seconds: u64) -> Option<f64> {
    let program = std::env::current_exe().ok()?;
    let output = Command::new(program).args(["hunt", bug, &seed.to_string(), &seconds.to_string()]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    println!("  {bug} {seed}: {}", text.trim());
    output.status.success().then(|| text.split_whitespace().next()?.parse().ok()).flatten()
}
