//! Seed after seed, each run in a process of its own.
//!
//! What ran before in a process changes a run: tokio keeps a runtime's tasks in four shards by their ids, which count on through the
//! whole process, and a runtime that is dropped (a killed node) drops them shard by shard.

use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::faults::FaultCounts;
use crate::run::{self, Options, Outcome};

/// The subcommand of a process that is one run.
pub const ONE: &str = "one";
/// The name of the bug that is none.
pub const NO_BUG: &str = "none";
/// A run takes a second. One that takes so long hangs.
const LONGEST_RUN: Duration = Duration::from_secs(300);

/// What many runs came to.
#[derive(Default)]
pub struct Sum {
    pub runs: u64,
    simulated_ms: u64,
    processor_ms: u64,
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
        self.processor_ms += outcome.processor_ms;
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

    pub fn print(&self, took: Duration) {
        let (hours, minutes) = (self.simulated_ms as f64 / 3_600_000.0, took.as_secs_f64() / 60.0);
        let core_minutes = self.processor_ms as f64 / 60_000.0;
        println!(
            "{} seeds, {hours:.2} simulated hours in {minutes:.2} minutes on {} cores: {:.2} per minute, {:.2} per minute of the processor",
            self.runs,
            cores(),
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

    pub fn processor(&self) -> Duration {
        Duration::from_millis(self.processor_ms)
    }

    /// What too little of happened to prove anything.
    pub fn vacuous(&self) -> Vec<&'static str> {
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

/// How long seeds are run.
#[derive(Clone, Copy)]
pub enum Bound {
    Clock(Duration),
    /// The time of the processor, so that a busy machine finds as much.
    Processor(Duration),
}

/// Seeds to run, beginning with the first.
pub struct Batch<'a> {
    pub first: u64,
    pub bound: Bound,
    /// Runs at a time.
    pub at_once: usize,
    pub bug: &'a str,
}

impl Batch<'_> {
    /// Runs until the bound is reached or a run fails. The sum, and the failure with the least seed, if any.
    pub fn run(&self) -> (Sum, Option<Outcome>) {
        let began = Instant::now();
        let (next, failed) = (AtomicU64::new(self.first), AtomicBool::new(false));
        let done = Mutex::new((Sum::default(), None::<Outcome>));
        let goes_on = || match self.bound {
            Bound::Clock(within) => began.elapsed() < within,
            Bound::Processor(within) => done.lock().expect("a batch").0.processor() < within,
        };
        let one_after_the_other = || {
            while !failed.load(Ordering::Relaxed) && goes_on() {
                let outcome = apart(next.fetch_add(1, Ordering::Relaxed), self.bug);
                let (sum, first) = &mut *done.lock().expect("a batch");
                sum.add(&outcome);
                if outcome.violation.is_some() {
                    failed.store(true, Ordering::Relaxed);
                    if first.as_ref().is_none_or(|first| outcome.seed < first.seed) {
                        *first = Some(outcome);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.at_once {
                scope.spawn(one_after_the_other);
            }
        });
        done.into_inner().expect("a batch")
    }
}

/// The run of a seed, in a process of its own.
pub fn apart(seed: u64, bug: &str) -> Outcome {
    let program = std::env::current_exe().expect("this program");
    let run = Command::new(program).args([ONE, &seed.to_string(), bug]).stderr(Stdio::piped()).output();
    let ended = match &run {
        Ok(run) => match postcard::from_bytes(&run.stdout) {
            Ok(outcome) if run.status.success() => return outcome,
            _ => format!("its process ended with {}: {}", run.status, String::from_utf8_lossy(&run.stderr).trim()),
        },
        Err(error) => format!("its process did not start: {error}"),
    };
    Outcome { seed, violation: Some(ended), ..Outcome::default() }
}

/// One run for a batch: its outcome on the standard output.
pub fn one(seed: u64, bug: &str) -> ExitCode {
    if let Err(error) = plant(bug) {
        eprintln!("{error}");
        return ExitCode::from(2);
    }
    std::thread::spawn(|| {
        std::thread::sleep(LONGEST_RUN);
        eprintln!("the run did not end within {} s", LONGEST_RUN.as_secs());
        std::process::exit(3);
    });
    let mut outcome = run::run(Options { seed, keep_trace: false });
    let used = clock_gettime(ClockId::ProcessCPUTime);
    outcome.processor_ms = used.tv_sec as u64 * 1_000 + used.tv_nsec as u64 / 1_000_000;
    let written = postcard::to_io(&outcome, std::io::stdout().lock());
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn plant(bug: &str) -> Result<(), String> {
    if bug == NO_BUG {
        return Ok(());
    }
    #[cfg(feature = "planted-bugs")]
    return match flotilla_model::planted::plant(bug) {
        true => Ok(()),
        false => Err(format!("no such bug: {bug}; there are {:?}", flotilla_model::planted::NAMES)),
    };
    #[cfg(not(feature = "planted-bugs"))]
    Err("this build has no planted bugs: `make sim-mutants`".to_owned())
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
