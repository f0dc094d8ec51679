//! The seeded simulation: the real engine, log store, state machine, leases, proposals and reads of three or five nodes on one
//! thread, with a network, disks and clocks that come from a seed. Run by `make sim`.
//!
//! Each node has a runtime of its own whose time the simulation moves millisecond by millisecond, so that a kill takes all
//! tasks of a node at once and a pause really lets it stand. Same seed, same trace: `replay` prints it.

mod agent;
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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use faults::FaultCounts;
use run::{Options, Outcome};
use rustix::time::{ClockId, clock_gettime};

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

/// What many runs came to.
#[derive(Default)]
pub struct Sum {
    runs: u64,
    simulated_ms: u64,
    faults: FaultCounts,
    packets: u64,
    lost_groups: u64,
    opened: u64,
    expired: u64,
    acknowledged: u64,
    unknown: u64,
    repeated: u64,
    barriers: u64,
    snapshots: u64,
    compared: u64,
    entries: u64,
    leaders: u64,
}

impl Sum {
    fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.simulated_ms += outcome.simulated_ms;
        self.faults.add(outcome.faults);
        self.packets += outcome.packets;
        self.lost_groups += outcome.lost_groups;
        self.opened += outcome.counts.opened;
        self.expired += outcome.counts.expired;
        self.acknowledged += outcome.counts.acknowledged;
        self.unknown += outcome.counts.unknown;
        self.repeated += outcome.counts.repeated;
        self.barriers += outcome.counts.barriers;
        self.snapshots += outcome.counts.snapshots_installed;
        self.compared += outcome.counts.states_compared;
        self.entries += outcome.counts.entries;
        self.leaders += outcome.counts.leaders;
    }

    fn print(&self, took: Duration) {
        let (hours, minutes) = (self.simulated_ms as f64 / 3_600_000.0, took.as_secs_f64() / 60.0);
        let core_minutes = used(1).as_secs_f64() / 60.0;
        println!(
            "{} seeds, {hours:.2} simulated hours in {minutes:.2} minutes on {} cores: {:.2} per minute, {:.2} per minute of the processor",
            self.runs,
            threads(),
            hours / minutes,
            hours / core_minutes
        );
        println!(
            "{} entries, {} leaders, {} answers, {} unknown, {} repeated commands, {} reads, {} sessions, {} packets",
            self.entries,
            self.leaders,
            self.acknowledged,
            self.unknown,
            self.repeated,
            self.barriers,
            self.opened,
            self.packets
        );
        println!(
            "{} faults {:?}, {} leases expired, {} groups of writes lost, {} snapshots installed, {} whole states compared",
            self.faults.total(),
            self.faults,
            self.expired,
            self.lost_groups,
            self.snapshots,
            self.compared
        );
    }

    /// What too little of happened to prove anything.
    fn vacuous(&self) -> Vec<&'static str> {
        let least = [
            ("sessions", self.opened, self.runs),
            ("expired leases", self.expired, self.runs / 4),
            ("answers", self.acknowledged, 20 * self.runs),
            ("reads", self.barriers, 5 * self.runs),
            ("unknown outcomes", self.unknown, self.runs),
            ("repeated commands", self.repeated, self.runs),
            ("leaders", self.leaders, 2 * self.runs),
            ("lost writes", self.lost_groups, self.runs / 10),
            ("installed snapshots", self.snapshots, self.runs / 2),
            ("compared states", self.compared, self.runs),
            ("nodes that lost their lease cut off again", self.faults.ended_cut, self.runs / 20),
            ("overtaken leaders that were suspended", self.faults.overtaken, self.runs / 20),
        ];
        least.iter().filter(|(_, count, least)| count < least).map(|(name, ..)| *name).collect()
    }
}

/// What bounds the runs: the clock, and for one thread the processor's time, so that a busy machine finds as much.
fn used(threads: usize) -> Duration {
    let clock = if threads == 1 { ClockId::ProcessCPUTime } else { ClockId::Monotonic };
    let now = clock_gettime(clock);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Runs seeds on so many threads until the time is over or one fails. The failure with the least seed, if any.
pub fn seeds(first: u64, within: Duration, threads: usize, sum: &mut Sum) -> Option<Outcome> {
    let began = used(threads);
    let (next, failed) = (AtomicU64::new(first), AtomicBool::new(false));
    let one = || {
        let mut outcomes = Vec::new();
        while used(threads) - began < within && !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let outcome = run::run(Options { seed, keep_trace: false });
            failed.fetch_or(outcome.violation.is_some(), Ordering::Relaxed);
            outcomes.push(outcome);
        }
        outcomes
    };
    let mut outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a run catches its own panics")).collect()
    });
    outcomes.iter().for_each(|outcome| sum.add(outcome));
    outcomes.sort_by_key(|outcome| outcome.seed);
    outcomes.into_iter().find(|outcome| outcome.violation.is_some())
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
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
    }
    soak(120, first)
}

/// The trace in a process of its own, as `make sim-replay` prints it: what ran before in one process changes some runs (`KNOWN.md`). An error
/// is the last thing that the process said.
fn replayed(seed: u64) -> Result<String, String> {
    let itself = std::env::current_exe().expect("this program");
    let output = std::process::Command::new(itself).args(["replay", &seed.to_string()]).output().expect("a replay");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(said) } else { Err(said.lines().last().unwrap_or("nothing").to_owned()) }
}

fn soak(seconds: u64, first: u64) -> ExitCode {
    let began = Instant::now();
    let mut sum = Sum::default();
    let failed = seeds(first, Duration::from_secs(seconds), threads(), &mut sum);
    report(failed, &sum, began.elapsed())
}

fn replay(seed: u64) -> ExitCode {
    let outcome = run::run(Options { seed, keep_trace: true });
    outcome.lines.iter().for_each(|line| print!("{line}"));
    println!("seed {seed}: trace {}, {:?}", outcome.trace, outcome.violation);
    if outcome.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
