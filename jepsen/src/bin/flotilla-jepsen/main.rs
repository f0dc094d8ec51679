//! `flotilla-jepsen`: runs faults against a real cluster, judges histories, makes reports.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use flotilla_jepsen::cluster::{self, Options};
use flotilla_jepsen::nemesis::Fault;
use flotilla_jepsen::net::{bridge, relay, wire};
use flotilla_jepsen::probe::Machine;
use flotilla_jepsen::run::{self, Plan};
use flotilla_jepsen::workload::Workload;
use flotilla_jepsen::{history, report, selftest, soak};

/// Fault tests of Flotilla against real processes. Exit 0: valid, 1: violated, 2: unknown.
#[derive(Parser)]
#[command(name = "flotilla-jepsen", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run workloads under faults and judge what happened.
    Run(RunArgs),
    /// Run after run with new seeds, until the hours are over; keeps what was not valid.
    Soak {
        /// Hours; fractions are fine.
        #[arg(long)]
        hours: f64,
        /// Where `summary.json` and failed runs are kept.
        #[arg(long)]
        out: PathBuf,
        #[arg(long, default_value_t = 1)]
        first_seed: u64,
        /// A page in Markdown with what was done and found, written anew after each run.
        #[arg(long)]
        results: Option<PathBuf>,
        /// Faults that each run has one of in turn, every so many-th none: those that change the whole of it.
        #[arg(long, value_delimiter = ',')]
        in_turn: Vec<String>,
        /// Arguments of each run, after `--`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Show that the suite can fail: run each planted bug under several seeds and print how many were caught.
    Selftest {
        /// A `flotilla` built with `--features planted-bugs`.
        #[arg(long)]
        binary: PathBuf,
        #[arg(long)]
        out: PathBuf,
        /// Only these bugs, separated by commas.
        #[arg(long, value_delimiter = ',')]
        bugs: Vec<String>,
        #[arg(long, default_value_t = 5)]
        seeds: u64,
        /// Seconds of each run.
        #[arg(short, long, default_value_t = 60)]
        seconds: u64,
        /// More arguments of each run, after `--`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Judge the history of a run's folder again, with the checkers of this version.
    Replay { folder: PathBuf },
    /// Judge a single file of JSON lines; writes nothing.
    Check { history: PathBuf },
    /// Make a run's report again.
    Report { folder: PathBuf },
    /// Say which faults this machine can make.
    Probe,
    /// Hand TCP connections on (used by the lab).
    #[command(hide = true)]
    Relay { listen: SocketAddr, to: SocketAddr },
    /// Be a node's wires to these others (used by the lab).
    #[command(hide = true)]
    Wire { nodes: Vec<usize> },
}

#[derive(clap::Args)]
struct RunArgs {
    /// Workloads, separated by commas.
    #[arg(short, long, value_enum, value_delimiter = ',', default_value = "w1,w2,w4")]
    workloads: Vec<Workload>,
    /// Faults, separated by commas; `none` for none.
    #[arg(short, long, value_delimiter = ',', default_value = "kill,pause,pause-holder,partition,fast-restart")]
    faults: Vec<String>,
    /// Three or five.
    #[arg(short, long, default_value_t = 3)]
    nodes: usize,
    /// Seconds of clients and faults, before the recovery.
    #[arg(short, long, default_value_t = 90)]
    seconds: u64,
    /// Chosen from the clock if absent. Decides the faults, their targets by place and what clients ask.
    #[arg(long)]
    seed: Option<u64>,
    /// Where the run is kept; must not exist yet.
    #[arg(short, long)]
    out: PathBuf,
    /// The product's binary; otherwise FLOTILLA_BIN, or `flotilla` beside this program.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// All nodes on loopback, without namespaces.
    #[arg(long)]
    loopback: bool,
    /// End at the first violation, without recovery and last operations.
    #[arg(long)]
    stop_at_violation: bool,
    /// Added to every port on loopback.
    #[arg(long, default_value_t = 23_900)]
    port_offset: u16,
}

fn main() {
    match outcome(Cli::parse().command) {
        Ok(code) => std::process::exit(code),
        Err(error) => {
            eprintln!("unknown: {error:#}");
            std::process::exit(2);
        }
    }
}

fn outcome(command: Command) -> Result<i32> {
    match command {
        Command::Probe => {
            print!("{}", Machine::probe());
            Ok(0)
        }
        Command::Replay { folder } => {
            let records = history::read(&folder.join("history.jsonl"))?;
            Ok(run::conclude(&folder, &records, &run::read_about(&folder)?)?.exit_code())
        }
        Command::Check { history } => Ok(run::check(&history)?.exit_code()),
        Command::Report { folder } => {
            let records = history::read(&folder.join("history.jsonl"))?;
            let about = run::read_about(&folder)?;
            let findings = flotilla_jepsen::check::judge::judge(&records, Default::default())?;
            std::fs::write(folder.join("report.html"), report::page(&records, &about, &findings)?)?;
            println!("{}", folder.join("report.html").display());
            Ok(0)
        }
        Command::Relay { listen, to } => {
            runtime()?.block_on(relay::run(listen, to))?;
            Ok(0)
        }
        Command::Wire { nodes } => {
            runtime()?.block_on(wire::run(&nodes))?;
            Ok(0)
        }
        Command::Soak { hours, out, first_seed, results, in_turn, arguments } => {
            ensure!((0.0..=1000.0).contains(&hours), "--hours {hours}: up to 1000");
            let time = Duration::from_secs_f64(hours * 3600.0);
            soak::run(&soak::Plan { time, arguments, in_turn, first_seed, folder: out, results })
        }
        Command::Selftest { binary, out, bugs, seeds, seconds, arguments } => {
            selftest::run(&cluster::binary(Some(&binary))?, &out, &bugs, seeds, seconds, &arguments)
        }
        Command::Run(arguments) => start(arguments),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

fn start(arguments: RunArgs) -> Result<i32> {
    ensure!((1..=7).contains(&arguments.nodes), "--nodes {}: 1 to 7", arguments.nodes);
    let faults = faults(&arguments.faults)?;
    // Before the namespaces: inside them this file must not exist, and does.
    let namespaces = !arguments.loopback && Machine::probe().has_namespaces();
    if namespaces && let Some(code) = bridge::enter()? {
        return Ok(code);
    }
    if !namespaces && !arguments.loopback {
        println!("namespaces: this machine cannot make them, all nodes share loopback:\n{}", Machine::probe());
    }
    ensure!(!arguments.out.exists(), "--out {}: exists already", arguments.out.display());
    std::fs::create_dir_all(&arguments.out)?;
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as u64;
    let plan = Plan {
        workloads: arguments.workloads,
        cluster: Options {
            nodes: arguments.nodes,
            namespaces,
            binary: cluster::binary(arguments.binary.as_deref())?,
            folder: std::fs::canonicalize(&arguments.out)?,
            port_offset: arguments.port_offset,
            fault_disks: faults.iter().any(|fault| *fault != Fault::StoragePowerCut && fault.needs().contains(&"fuse")),
            fault_storage: faults.contains(&Fault::StoragePowerCut),
            small_disks: faults.contains(&Fault::DiskFull),
            wires: faults.contains(&Fault::Delay) || faults.contains(&Fault::Corrupt),
            wall_clocks: faults.contains(&Fault::WallClock),
            snapshot_entries: faults.iter().filter_map(|fault| fault.snapshot_entries()).min(),
        },
        faults,
        stop_at_violation: arguments.stop_at_violation,
        time: Duration::from_secs(arguments.seconds),
        seed: arguments.seed.unwrap_or(clock),
    };
    Ok(runtime()?.block_on(run::run(&plan))?.exit_code())
}

fn faults(names: &[String]) -> Result<Vec<Fault>> {
    if names == ["none"] {
        return Ok(Vec::new());
    }
    let one = |name: &String| {
        let all = || Fault::value_variants().iter().map(|fault| fault.name()).collect::<Vec<_>>().join(", ");
        Fault::from_str(name, true).map_err(|_| anyhow::anyhow!("--faults {name}: no such fault; there are {}", all()))
    };
    names.iter().map(one).collect()
}
