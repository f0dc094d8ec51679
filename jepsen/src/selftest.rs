//! The suite can fail: each planted bug is caught by its workload, within two minutes in the median of its seeds. The same runs
//! without a bug are valid, or a catch shows nothing.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::Value;

/// A bug with the workload and the faults that are to find it.
struct Planted {
    bug: &'static str,
    workload: &'static str,
    faults: &'static str,
    /// A violation of one of these rules is a catch; any other is not what was planted.
    rules: &'static [&'static str],
}

/// `close-before-open` is not among them: a node sends a close only once it knows its open's outcome, so that only the rings inside,
/// which send what no node would, can let one overtake the other.
const PLANTED: [Planted; 12] = [
    Planted {
        bug: "stale-read",
        workload: "w1",
        faults: "partition,pause",
        rules: &["witness", "witness-time", "linearizable"],
    },
    Planted { bug: "double-apply", workload: "w6", faults: "none", rules: &["I-same", "I-once", "E-unique"] },
    Planted { bug: "lease-timer-only", workload: "w2", faults: "pause-holder", rules: &["S-safe"] },
    Planted { bug: "slot-leak", workload: "w2", faults: "none", rules: &["S-spurious", "S-live"] },
    Planted { bug: "quota-refund", workload: "w4", faults: "none", rules: &["Q-bytes", "Q-under", "Q-live"] },
    Planted { bug: "no-revoke", workload: "w3", faults: "none", rules: &["R-late"] },
    Planted { bug: "refusal-without-barrier", workload: "w1", faults: "partition,pause", rules: &["linearizable"] },
    Planted {
        bug: "no-sync",
        workload: "w1",
        faults: "power-cut",
        rules: &["witness", "witness-time", "linearizable", "C-applied", "C-hash", "C-exit"],
    },
    Planted { bug: "feed-duplicate", workload: "w6", faults: "none", rules: &["E-unique"] },
    Planted { bug: "publish-at-first-write", workload: "w4", faults: "none", rules: &["F-whole", "F-aborted"] },
    Planted {
        bug: "credit-before-sync",
        workload: "w4",
        faults: "storage-power-cut",
        rules: &["F-stale", "Q-counted", "Q-bytes", "Q-under"],
    },
    Planted { bug: "snapshot-cuts-nobody", workload: "w3,w6", faults: "behind", rules: &["R-late"] },
];

/// In the median of its seeds a bug is caught within this time.
const WITHIN_S: f64 = 120.0;

/// What became of one bug.
#[derive(Clone, Debug, Serialize)]
pub struct Score {
    pub bug: String,
    pub seeds: Vec<u64>,
    /// Seconds to the first violation of each seed that caught it, of clients and faults, not of starting.
    pub caught_after_s: Vec<f64>,
    pub rules: Vec<String>,
}

impl Score {
    /// Caught in most of its seeds, and soon enough.
    pub fn is_caught(&self) -> bool {
        self.median() <= WITHIN_S
    }
    /// Over all seeds; a miss counts as never.
    fn median(&self) -> f64 {
        let mut times = self.caught_after_s.clone();
        times.resize(self.seeds.len(), f64::INFINITY);
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }
}

/// The control of a run: its workload, faults and seed without a bug.
type Control = (&'static str, &'static str, u64);

/// Runs each bug under each seed, and its control; prints the score. 0 if every bug was caught and every control was valid.
///
/// `binary` is a `flotilla` built with the feature `planted-bugs`. Without a bug named in the environment it has none.
pub fn run(binary: &Path, out: &Path, only: &[String], seeds: u64, seconds: u64, more: &[String]) -> Result<i32> {
    ensure!(seeds > 0, "--seeds: at least one");
    let unknown = only.iter().find(|name| !PLANTED.iter().any(|planted| planted.bug == name.as_str()));
    ensure!(unknown.is_none(), "no such planted bug: {unknown:?}");
    std::fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    let mut scores = Vec::new();
    let mut controls: BTreeMap<Control, String> = BTreeMap::new();
    for planted in PLANTED.iter().filter(|planted| only.is_empty() || only.iter().any(|name| name == planted.bug)) {
        let mut score =
            Score { bug: planted.bug.to_owned(), seeds: (1..=seeds).collect(), caught_after_s: vec![], rules: vec![] };
        for seed in 1..=seeds {
            let control = (planted.workload, planted.faults, seed);
            if let Entry::Vacant(control) = controls.entry(control) {
                let folder = out.join(format!("control-{}-{}-{seed}", planted.workload, planted.faults));
                let results = one(planted, None, binary, &folder, seed, seconds, more)?;
                let verdict = results["verdict"].as_str().unwrap_or("no verdict").to_owned();
                println!("without a bug, {:?}: {verdict}", control.key());
                control.insert(verdict);
            }
            let folder = out.join(format!("{}-{seed}", planted.bug));
            let results = one(planted, Some(planted.bug), binary, &folder, seed, seconds, more)?;
            if let Some((after, rule)) = caught(planted, &results, first_client(&folder)?) {
                score.caught_after_s.push(after);
                score.rules.push(rule);
            }
        }
        println!(
            "{}: caught in {} of {seeds} seeds, median {:.1} s",
            score.bug,
            score.caught_after_s.len(),
            score.median()
        );
        scores.push(score);
    }
    std::fs::write(out.join("mutation-score.json"), serde_json::to_string_pretty(&scores)?)?;
    let caught = scores.iter().filter(|score| score.is_caught()).count();
    let valid = controls.values().filter(|verdict| *verdict == "valid").count();
    println!(
        "mutation score: {caught} of {}; {valid} of {} runs without a bug were valid",
        scores.len(),
        controls.len()
    );
    Ok(i32::from(caught < scores.len() || valid < controls.len()))
}

/// The results of a run.
fn one(
    planted: &Planted,
    bug: Option<&str>,
    binary: &Path,
    folder: &PathBuf,
    seed: u64,
    seconds: u64,
    more: &[String],
) -> Result<Value> {
    let began = Instant::now();
    let mut run = Command::new(std::env::current_exe()?);
    run.env_remove("FLOTILLA_PLANTED_BUG");
    if let Some(bug) = bug {
        run.env("FLOTILLA_PLANTED_BUG", bug).arg("run").arg("--stop-at-violation");
    } else {
        run.arg("run");
    }
    let output = run
        .args(["-w", planted.workload, "-f", planted.faults, "-s", &seconds.to_string()])
        .args(["--seed", &seed.to_string(), "--binary"])
        .arg(binary)
        .arg("--out")
        .arg(folder)
        .args(more)
        .output()
        .context("starting a run")?;
    let Ok(text) = std::fs::read_to_string(folder.join("results.json")) else {
        // Neither valid nor a catch.
        let text = String::from_utf8_lossy(&output.stderr);
        println!("{} after {:?}: no results: {text}", bug.unwrap_or("no bug"), began.elapsed());
        return Ok(Value::Null);
    };
    Ok(serde_json::from_str(&text)?)
}

/// The first violation that the bug explains: seconds after the first client asked, and the rule.
fn caught(planted: &Planted, results: &Value, began_ns: u64) -> Option<(f64, String)> {
    let violations = results["findings"].as_array().into_iter().flatten();
    let violations = violations.flat_map(|one| one["violations"].as_array().into_iter().flatten());
    let caught = violations.filter(|one| planted.rules.iter().any(|rule| one["rule"] == *rule));
    let caught = caught.filter_map(|one| Some((one["at_ns"].as_u64()?, one["rule"].as_str()?.to_owned())));
    let first = caught.min_by_key(|(at, _)| *at);
    first.map(|(at, rule)| (at.saturating_sub(began_ns) as f64 / 1e9, rule))
}

/// When the first client asked for something.
fn first_client(folder: &Path) -> Result<u64> {
    let file = folder.join("history.jsonl");
    let records = if file.exists() { crate::history::read(&file)? } else { Vec::new() };
    Ok(records.iter().find(|record| record.process != 0).map_or(0, |record| record.time))
}

#[cfg(test)]
mod tests {
    use super::Score;

    fn score(seeds: u64, caught_after_s: &[f64]) -> Score {
        let caught_after_s = caught_after_s.to_vec();
        Score { bug: "b".into(), seeds: (1..=seeds).collect(), caught_after_s, rules: vec![] }
    }

    #[test]
    fn a_bug_that_is_missed_or_caught_late_in_the_median_is_not_caught() {
        assert!(score(5, &[1.0, 120.0, 90.0]).is_caught());
        assert!(!score(5, &[1.0, 90.0]).is_caught(), "three misses of five");
        assert!(!score(5, &[1.0, 2.0, 121.0, 122.0, 123.0]).is_caught());
        assert!(score(1, &[119.0]).is_caught() && !score(1, &[]).is_caught());
    }
}
