//! The seeded simulation: the real engine, log store, state machine, leases, proposals and reads of three or five nodes on one
//! thread, with a network, disks and clocks that come from a seed. Run by `make sim`.
//!
//! Each node has a runtime of its own whose time the simulation moves millisecond by millisecond, so that a kill takes all
//! tasks of a node at once and a pause really lets it stand. Same seed, same trace: `replay` prints it.

mod agent;
mod batch;
mod clients;
mod disk;
mod faults;
mod net;
mod node;
mod oracle;
mod rng;
mod run;
mod score;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use batch::{Batch, Bound, Sum};
use run::{Options, Outcome};

const USAGE: &str = "sim gate [FIRST_SEED] | soak SECONDS [FIRST_SEED] | replay SEED | hunt BUG SEED SECONDS | score [SECONDS] [BUG...]";

fn main() -> ExitCode {
    run::catch_panics();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().ok();
    match words.as_slice() {
        [] | ["gate"] => gate(1),
        ["gate", first] => gate(number(first).unwrap_or(1)),
        ["soak", seconds] => soak(number(seconds).unwrap_or(60), 1_000_000),
        ["soak", seconds, first] => soak(number(seconds).unwrap_or(60), number(first).unwrap_or(1)),
        ["replay", seed] => replay(number(seed).unwrap_or(1)),
        // A batch's own processes.
        [batch::ONE, seed, bug] => batch::one(number(seed).unwrap_or(1), bug),
        ["hunt", bug, seed, seconds] => score::hunt(bug, number(seed).unwrap_or(1), number(seconds).unwrap_or(120)),
        ["score"] => score::score(120, &[]),
        ["score", seconds, bugs @ ..] => score::score(number(seconds).unwrap_or(120), bugs),
        // What `cargo test` hands to every test binary.
        ["--list", ..] => ExitCode::SUCCESS,
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn report(failed: Option<Outcome>, sum: &Sum, took: Duration) -> ExitCode {
    sum.print(took);
    if let Some(outcome) = failed {
        let what = outcome.violation.as_deref().unwrap_or_default();
        println!("seed {} ({} nodes) FAILS {what}", outcome.seed, outcome.nodes);
        println!("again, with its trace: make sim-replay SEED={}", outcome.seed);
        return ExitCode::FAILURE;
    }
    let vacuous = sum.vacuous();
    if !vacuous.is_empty() {
        println!("too few {}: this proves nothing", vacuous.join(", "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The gate's share: some seeds twice, then seeds for two minutes.
fn gate(first: u64) -> ExitCode {
    for seed in first..first + 3 {
        let [one, two] = [0, 1].map(|_| replayed(seed));
        let (Ok(one), Ok(two)) = (&one, &two) else {
            println!("seed {seed} does not run to its end: {}", one.err().or(two.err()).unwrap_or_default());
            return ExitCode::FAILURE;
        };
        if one != two {
            let differs = one.lines().zip(two.lines()).find(|(one, two)| one != two);
            println!("seed {seed} twice is not the same, first at {differs:?}");
            return ExitCode::FAILURE;
        }
        let trace = batch::apart(seed, batch::NO_BUG).trace;
        if trace.is_empty() || !one.contains(&trace) {
            println!("seed {seed} goes another way in a batch than replayed: trace {trace:?}");
            return ExitCode::FAILURE;
        }
    }
    soak(120, first)
}

/// The trace in a process of its own, as `make sim-replay` prints it. An error is the last thing that the process said.
fn replayed(seed: u64) -> Result<String, String> {
    let itself = std::env::current_exe().expect("this program");
    let output = std::process::Command::new(itself).args(["replay", &seed.to_string()]).output().expect("a replay");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(said) } else { Err(said.lines().last().unwrap_or("nothing").to_owned()) }
}

fn soak(seconds: u64, first: u64) -> ExitCode {
    let began = Instant::now();
    let bound = Bound::Clock(Duration::from_secs(seconds));
    let (sum, failed) = Batch { first, bound, at_once: batch::cores(), bug: batch::NO_BUG }.run();
    report(failed, &sum, began.elapsed())
}

fn replay(seed: u64) -> ExitCode {
    let outcome = run::run(Options { seed, keep_trace: true });
    outcome.lines.iter().for_each(|line| print!("{line}"));
    println!("seed {seed}: trace {}, {:?}", outcome.trace, outcome.violation);
    if outcome.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
