//! A soak: one run after the other, each with a new cluster and a new seed, until the time is over; sums what they did.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::figures::{Figures, percentile};

/// What is soaked, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    pub time: Duration,
    /// Arguments of each run but its seed and folder.
    pub arguments: Vec<String>,
    /// Faults that change the whole of a run: each run has the next of them, every so many-th none.
    pub in_turn: Vec<String>,
    pub first_seed: u64,
    /// `summary.json` and the folders of runs that were not valid are kept here.
    pub folder: PathBuf,
    /// The page for people, written anew after each run.
    pub results: Option<PathBuf>,
}

/// The sums over all runs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    pub runs: u64,
    pub valid: u64,
    pub violated: Vec<u64>,
    /// Seeds of runs that ended undecided.
    pub unknown: Vec<u64>,
    pub first_seed: u64,
    pub last_seed: u64,
    pub hours: f64,
    /// Operations or observations looked at, by checker.
    pub checked: BTreeMap<String, u64>,
    /// Faults and what else was counted, by checker.
    pub counts: BTreeMap<String, u64>,
    /// Operations by workload and outcome.
    pub operations: BTreeMap<String, BTreeMap<String, u64>>,
    /// Milliseconds, by what they are of.
    pub figures_ms: Figures,
    /// What was violated or undecided, with its seed; the first of each run.
    pub found: Vec<String>,
    pub skipped: BTreeMap<String, String>,
    /// The version and digest of the binary.
    pub binary: String,
}

/// Runs until the time is over. 0 if all were valid, 1 if any was violated, else 2.
pub fn run(plan: &Plan) -> Result<i32> {
    std::fs::create_dir_all(&plan.folder).with_context(|| format!("making {}", plan.folder.display()))?;
    let began = Instant::now();
    let mut summary = Summary { first_seed: plan.first_seed, ..Summary::default() };
    for seed in plan.first_seed.. {
        if began.elapsed() >= plan.time {
            break;
        }
        let folder = plan.folder.join(format!("seed-{seed}"));
        let status = Command::new(std::env::current_exe()?)
            .arg("run")
            .args(&plan.arguments)
            .args(plan.in_turn(seed).into_iter().flat_map(|fault| ["--faults", fault]))
            .args(["--seed", &seed.to_string(), "--out"])
            .arg(&folder)
            .status()
            .context("starting a run")?;
        ensure!(folder.exists(), "the run of seed {seed} did not begin: {status}; what is wrong stands above");
        summary.add(seed, status.code(), &folder)?;
        summary.hours = began.elapsed().as_secs_f64() / 3600.0;
        std::fs::write(plan.folder.join("summary.json"), serde_json::to_string_pretty(&summary)?)?;
        if let Some(file) = &plan.results {
            std::fs::write(file, page(&summary, plan)).with_context(|| format!("writing {}", file.display()))?;
        }
    }
    println!("{}", serde_json::to_string_pretty(&summary)?);
    Ok(if !summary.violated.is_empty() { 1 } else { i32::from(!summary.unknown.is_empty()) * 2 })
}

impl Plan {
    /// By the seed, so that it makes the same run again.
    fn in_turn(&self, seed: u64) -> Option<&str> {
        self.in_turn.get(seed as usize % (self.in_turn.len() + 1)).map(String::as_str)
    }
}

impl Summary {
    fn add(&mut self, seed: u64, code: Option<i32>, folder: &Path) -> Result<()> {
        self.runs += 1;
        self.last_seed = seed;
        match code {
            Some(0) => self.valid += 1,
            Some(1) => self.violated.push(seed),
            _ => self.unknown.push(seed),
        }
        if let Ok(text) = std::fs::read_to_string(folder.join("results.json")) {
            let results: Value = serde_json::from_str(&text)?;
            self.note(seed, &results);
            for findings in results["findings"].as_array().into_iter().flatten() {
                let checker = findings["checker"].as_str().unwrap_or_default();
                *self.checked.entry(checker.to_owned()).or_default() += findings["checked"].as_u64().unwrap_or(0);
                for (what, count) in findings["counts"].as_object().into_iter().flatten() {
                    *self.counts.entry(format!("{checker}: {what}")).or_default() += count.as_u64().unwrap_or(0);
                }
            }
        } else if code != Some(0) {
            self.found.push(format!("seed {seed}: the run ended without results"));
        }
        // A valid run's files and nodes are of no more use; its seed makes it again.
        if code == Some(0) {
            std::fs::remove_dir_all(folder)?;
        }
        Ok(())
    }

    fn note(&mut self, seed: u64, results: &Value) {
        let texts = results["findings"].as_array().into_iter().flatten().flat_map(|one| {
            let violated = one["violations"].as_array().into_iter().flatten();
            let violated = violated.map(|one| format!("violated {}: {}", text(one, "rule"), text(one, "text")));
            let unknown = one["unknown"].as_array().into_iter().flatten();
            violated.chain(unknown.map(|one| format!("unknown: {}", one.as_str().unwrap_or_default())))
        });
        self.found.extend(texts.take(1).map(|found| format!("seed {seed}: {found}")));
        for (workload, outcomes) in results["operations"].as_object().into_iter().flatten() {
            let own = self.operations.entry(workload.clone()).or_default();
            for (outcome, count) in outcomes.as_object().into_iter().flatten() {
                *own.entry(outcome.clone()).or_default() += count.as_u64().unwrap_or(0);
            }
        }
        let figures: Figures = serde_json::from_value(results["figures_ms"].clone()).unwrap_or_default();
        for (name, values) in figures {
            self.figures_ms.entry(name).or_default().extend(values);
        }
        let about = &results["about"];
        for (fault, why) in about["skipped"].as_object().into_iter().flatten() {
            self.skipped.insert(fault.clone(), why.as_str().unwrap_or_default().to_owned());
        }
        self.binary = format!("{} sha256 {}", text(about, "version"), text(about, "binary_sha256"));
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// The results as a page: what was done, what was found, what was left out.
fn page(summary: &Summary, plan: &Plan) -> String {
    let mut page = format!(
        "# A soak of {:.2} hours\n{} runs, seeds {} to {}, each with a cluster of its own: {} valid, {} violated, {} undecided. \
         Binary {}. Arguments of each run: `{}`{}.\n\n",
        summary.hours,
        summary.runs,
        summary.first_seed,
        summary.last_seed,
        summary.valid,
        summary.violated.len(),
        summary.unknown.len(),
        summary.binary,
        plan.arguments.join(" "),
        match plan.in_turn.as_slice() {
            [] => String::new(),
            in_turn => format!(", and in turn one of these faults or none: {}", in_turn.join(", ")),
        }
    );
    page += "## Operations\n| workload | ok | failed for certain | outcome unknown |\n|---|---|---|---|\n";
    for (workload, outcomes) in &summary.operations {
        let count = |name: &str| outcomes.get(name).copied().unwrap_or(0);
        page += &format!("| {workload} | {} | {} | {} |\n", count("ok"), count("fail"), count("info"));
    }
    page += "\n## Faults and what else was counted\n| checker | what | times |\n|---|---|---|\n";
    for (what, count) in &summary.counts {
        let (checker, what) = what.split_once(": ").unwrap_or(("", what));
        page += &format!("| {checker} | {what} | {count} |\n");
    }
    page += "\n## Times in milliseconds\n| of | measured | p50 | p99 | longest |\n|---|---|---|---|---|\n";
    for (name, values) in &summary.figures_ms {
        let [half, most, longest] = [0.5, 0.99, 1.0].map(|share| percentile(values, share));
        page += &format!("| {name} | {} | {half} | {most} | {longest} |\n", values.len());
    }
    page += "\n## Found\n";
    page += &if summary.found.is_empty() { "Nothing.\n".to_owned() } else { list(summary.found.iter()) };
    page += "\n## Left out\n";
    page += &list(summary.skipped.iter().map(|(fault, why)| format!("{fault}: {why}")));
    page + LIMITS
}

fn list(lines: impl Iterator<Item = impl std::fmt::Display>) -> String {
    lines.map(|line| format!("- {line}\n")).collect()
}

/// What no run can show.
const LIMITS: &str = "\n## Expected limits\n\
- A node that is frozen inside a system call on shared storage finishes that one call when it is thawed; its client gets no answer.\n\
- After a power cut of the storage its staging folders may hold again what had been unlinked, more than a quota allows, until the account is changed or scanned once the epochs of before are over.\n\
- A voter that lies, or a machine whose memory is changed or set back by others, is outside of the promises.\n\
- Clock rates must differ by less than 1 %; they cannot be turned here and are shown in process.\n";
