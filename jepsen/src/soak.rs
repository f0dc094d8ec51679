//! A soak: one run after the other, each with a new cluster and a new seed, until the time is over; sums what they did.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

/// What is soaked, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    pub time: Duration,
    /// Arguments of each run but its seed and folder.
    pub arguments: Vec<String>,
    pub first_seed: u64,
    /// `summary.json` and the folders of runs that were not valid are kept here.
    pub folder: PathBuf,
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
            .args(["--seed", &seed.to_string(), "--out"])
            .arg(&folder)
            .status()
            .context("starting a run")?;
        summary.add(seed, status.code(), &folder)?;
        summary.hours = began.elapsed().as_secs_f64() / 3600.0;
        std::fs::write(plan.folder.join("summary.json"), serde_json::to_string_pretty(&summary)?)?;
    }
    println!("{}", serde_json::to_string_pretty(&summary)?);
    Ok(if !summary.violated.is_empty() { 1 } else { i32::from(!summary.unknown.is_empty()) * 2 })
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
            for findings in results["findings"].as_array().into_iter().flatten() {
                let checker = findings["checker"].as_str().unwrap_or_default();
                *self.checked.entry(checker.to_owned()).or_default() += findings["checked"].as_u64().unwrap_or(0);
                for (what, count) in findings["counts"].as_object().into_iter().flatten() {
                    *self.counts.entry(format!("{checker}: {what}")).or_default() += count.as_u64().unwrap_or(0);
                }
            }
        }
        // A valid run's files and nodes are of no more use; its seed makes it again.
        if code == Some(0) {
            std::fs::remove_dir_all(folder)?;
        }
        Ok(())
    }
}
