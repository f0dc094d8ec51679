//! One run: a cluster, clients, faults, recovery, final operations, judgement.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::check::Findings;
use crate::check::judge::{BROKEN, FAULTS, PROBLEM, judge};
use crate::check::linear::Budget;
use crate::cluster::{Fleet, Options};
use crate::history::{Kind, Operation, Record, Recorder, pair, write_edn};
use crate::nemesis::{self, Fault};
use crate::probe::Machine;
use crate::stall::Meter;
use crate::workload::{Broken, Phase, Workload, World};

/// The clients' last operations end within this time after the stop: the longest limit of one operation, and a margin.
const LAST_OPERATIONS: Duration = Duration::from_secs(60);

/// Clients alone, before the faults and after the recovery: what they are refused then is judged, each refusal. Afterwards longer, for
/// what the faults may have left is an excuse at first.
const CALM_BEFORE: Duration = Duration::from_secs(6);
const CALM_AFTER: Duration = Duration::from_secs(16);

/// With `stop_at_violation`.
const JUDGE_EVERY: Duration = Duration::from_secs(3);

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub workloads: Vec<Workload>,
    pub faults: Vec<Fault>,
    pub cluster: Options,
    /// How long clients and faults go on, between the calm before and after.
    pub time: Duration,
    pub seed: u64,
    /// End at the first violation, without recovery and last operations: for bugs that were planted.
    pub stop_at_violation: bool,
}

/// What a run was, beside its history: `run.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    pub seed: u64,
    pub seconds: u64,
    pub nodes: usize,
    pub network: String,
    pub workloads: Vec<String>,
    pub faults: Vec<String>,
    /// Faults that were not made, and why.
    pub skipped: BTreeMap<String, String>,
    pub binary: String,
    pub binary_sha256: String,
    pub version: String,
}

/// The verdict over all checkers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Valid,
    Violated,
    /// Something could not be decided, or did not happen often enough to mean anything: as bad as a violation.
    Unknown,
}

impl Verdict {
    pub fn of(findings: &[Findings]) -> Verdict {
        if findings.iter().any(|one| !one.violations.is_empty()) {
            Verdict::Violated
        } else if findings.iter().any(|one| !one.unknown.is_empty()) {
            Verdict::Unknown
        } else {
            Verdict::Valid
        }
    }
    /// 0 valid, 1 violated, 2 unknown.
    pub fn exit_code(self) -> i32 {
        match self {
            Verdict::Valid => 0,
            Verdict::Violated => 1,
            Verdict::Unknown => 2,
        }
    }
}

/// Runs a plan; everything is kept in the plan's folder. An error is a failure of the suite, not of the product: unknown.
pub async fn run(plan: &Plan) -> Result<Verdict> {
    let folder = &plan.cluster.folder;
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let (faults, skipped) = nemesis::plan(&plan.faults, &Machine::probe(), plan.cluster.namespaces);
    let about = about(plan, &faults, skipped)?;
    std::fs::write(folder.join("run.json"), serde_json::to_string_pretty(&about)?)?;
    println!("seed {}, {} nodes, {}, {} s", about.seed, about.nodes, about.network, about.seconds);
    for (fault, why) in &about.skipped {
        println!("skipped: {fault}: {why}");
    }
    let recorder = Recorder::create(&folder.join("history.jsonl"))?;
    recorder.observe(FAULTS, json!(about.faults));
    let fleet = Arc::new(Fleet::start(&plan.cluster, recorder.clone()).await.context("starting the cluster")?);
    let world = World::new(Arc::clone(&fleet), plan.seed);
    let meter = Meter::start(&recorder, folder, plan.cluster.fault_disks)?;
    let ran = drive(plan, faults, &world).await;
    if let Err(error) = &ran {
        recorder.observe(PROBLEM, json!(format!("{error:#}")));
    }
    drop(meter);
    fleet.look_for_exits().await;
    fleet.look_for_panics()?;
    fleet.look_for_snapshots();
    recorder.finish()?;
    drop(world);
    if let Ok(fleet) = Arc::try_unwrap(fleet) {
        fleet.end().await;
    }
    conclude(folder, &recorder.records(), &about)
}

async fn drive(plan: &Plan, faults: Vec<Fault>, world: &Arc<World>) -> Result<()> {
    for workload in &plan.workloads {
        workload.prepare(world).await.with_context(|| format!("preparing {workload:?}"))?;
    }
    world.fleet.measure().await;
    let watch = tokio::spawn(watch(Arc::clone(world)));
    let clients: Vec<_> = plan.workloads.iter().map(|workload| tokio::spawn(workload.run(Arc::clone(world)))).collect();
    let nemesis = tokio::spawn(nemesis_after_calm(Arc::clone(world), faults));
    let time = CALM_BEFORE + plan.time;
    if plan.stop_at_violation {
        if until_violated(time, world).await? {
            world.enter(Phase::Over);
            return Ok(());
        }
    } else {
        tokio::time::sleep(time).await;
    }
    world.enter(Phase::CalmAfter);
    // The nemesis undoes what it is doing; what it could not, the recovery does, which clients may be waiting for.
    tokio::time::timeout(LAST_OPERATIONS, nemesis).await.context("the nemesis did not end")??;
    nemesis::recover(world).await?;
    tokio::time::sleep(CALM_AFTER).await;
    world.enter(Phase::Over);
    for client in clients {
        tokio::time::timeout(LAST_OPERATIONS, client).await.context("a workload did not end")??;
    }
    watch.await?;
    // What fails is written down; the others are still looked at.
    for workload in &plan.workloads {
        if let Err(error) = workload.settle(world).await {
            let text = format!("{workload:?} after the recovery: {error:#}");
            match error.downcast_ref::<Broken>() {
                Some(broken) => world.recorder.observe(BROKEN, json!({"rule": broken.rule, "text": text})),
                None => world.recorder.observe(PROBLEM, json!(text)),
            }
        }
    }
    compare_states(world).await;
    world.fleet.measure().await;
    Ok(())
}

async fn nemesis_after_calm(world: Arc<World>, faults: Vec<Fault>) {
    world.pause_fault(CALM_BEFORE).await;
    world.enter(Phase::Faults);
    nemesis::run(world, faults).await;
}

/// Judges the history again and again. What a history violates it violates however it goes on: operations without an answer are
/// taken as still to come. False: none until the time is over.
async fn until_violated(time: Duration, world: &World) -> Result<bool> {
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
        world.pause(JUDGE_EVERY).await;
        let records = world.recorder.records();
        let findings = tokio::task::spawn_blocking(move || judge(&records, Budget::default())).await??;
        if Verdict::of(&findings) == Verdict::Violated {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Asks each node what it sees, all the time.
async fn watch(world: Arc<World>) {
    while !world.stopping() {
        for node in world.fleet.places() {
            world.fleet.view(node).await;
        }
        world.pause(Duration::from_millis(250)).await;
    }
}

/// Indices go on with every renewal: asks often enough to meet the same one on several nodes.
async fn compare_states(world: &World) {
    for _ in 0..30 {
        futures::future::join_all(world.fleet.places().map(|node| world.fleet.view(node))).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Judges a history and writes results, EDN and report beside it.
pub fn conclude(folder: &Path, records: &[Record], about: &About) -> Result<Verdict> {
    let findings = judge(records, Budget::default())?;
    let verdict = Verdict::of(&findings);
    let operations = pair(records)?;
    let (counts, figures) = (counted(&operations), crate::figures::of(records, &operations));
    let results = json!({
        "verdict": verdict, "about": about, "findings": findings, "operations": counts, "figures_ms": figures,
    });
    std::fs::write(folder.join("results.json"), serde_json::to_string_pretty(&results)?)?;
    let mut edn = std::io::BufWriter::new(std::fs::File::create(folder.join("history.edn"))?);
    write_edn(records, &mut edn)?;
    std::fs::write(folder.join("report.html"), crate::report::page(records, about, &findings)?)?;
    print(&findings);
    println!("{verdict:?}; {}", folder.join("report.html").display());
    Ok(verdict)
}

/// Operations by workload and outcome.
fn counted(operations: &[Operation]) -> BTreeMap<String, BTreeMap<Kind, u64>> {
    let mut counts: BTreeMap<String, BTreeMap<Kind, u64>> = BTreeMap::new();
    for operation in operations {
        let workload = operation.f.split('.').next().unwrap_or_default().to_owned();
        *counts.entry(workload).or_default().entry(operation.outcome).or_default() += 1;
    }
    counts
}

/// Judges a file and prints what is found.
pub fn check(history: &Path) -> Result<Verdict> {
    let findings = judge(&crate::history::read(history)?, Budget::default())?;
    let verdict = Verdict::of(&findings);
    print(&findings);
    println!("{verdict:?}");
    Ok(verdict)
}

fn print(findings: &[Findings]) {
    for one in findings {
        let counts: Vec<String> = one.counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
        println!("{}: {} checked; {}", one.checker, one.checked, counts.join(", "));
        for violation in &one.violations {
            println!("  VIOLATED {} at {:.3} s: {}", violation.rule, violation.at_ns as f64 / 1e9, violation.text);
        }
        for unknown in &one.unknown {
            println!("  UNKNOWN {unknown}");
        }
    }
}

fn about(plan: &Plan, faults: &[Fault], skipped: Vec<(String, String)>) -> Result<About> {
    let binary = &plan.cluster.binary;
    let digest = Sha256::digest(std::fs::read(binary).with_context(|| format!("reading {}", binary.display()))?);
    Ok(About {
        seed: plan.seed,
        seconds: plan.time.as_secs(),
        nodes: plan.cluster.nodes,
        network: if plan.cluster.namespaces { "namespaces" } else { "loopback with a switch of relays" }.to_owned(),
        workloads: plan.workloads.iter().map(|one| format!("{one:?}")).collect(),
        faults: faults.iter().map(|fault| fault.name()).collect(),
        skipped: skipped.into_iter().collect(),
        binary: binary.display().to_string(),
        binary_sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// Reads what a run was.
pub fn read_about(folder: &Path) -> Result<About> {
    let file: PathBuf = folder.join("run.json");
    let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| file.display().to_string())
}
