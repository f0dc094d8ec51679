//! Figures beside OpenSSH in the same run: transfers, small files, logins, commits, failover, memory. Bounded, ends by itself.
//!
//! Arguments name the parts to run (`transfers`, `small`, `logins`, `commits`, `admin`, `failover`, `memory`); none = all.
//! `--quick` runs each part small, to see that it works: its figures mean nothing.
//! `FLOTILLA_LAB_DIR` says where files live.

mod admin;
mod failover;
mod files;
mod memory;
mod rates;
mod sshd;

use std::time::Instant;

use anyhow::{Result, ensure};
use flotilla_jepsen::lab::Lab;

use self::sshd::Sshd;

/// How much of each part is run.
pub struct Size {
    /// MiB of the large transfer.
    pub large_mib: u64,
    pub small_files: usize,
    /// Each transfer is timed so often; the median counts.
    pub rounds: usize,
    pub logins: usize,
    pub commits: usize,
    /// Of each run of administration, of which there are eight.
    pub admin_seconds: u64,
    pub kills: usize,
    pub idle_sessions: usize,
}

const WHOLE: Size = Size {
    large_mib: 1024,
    small_files: 2000,
    rounds: 3,
    logins: 400,
    commits: 3000,
    admin_seconds: 5,
    kills: 10,
    idle_sessions: 1000,
};
const QUICK: Size = Size {
    large_mib: 16,
    small_files: 50,
    rounds: 1,
    logins: 16,
    commits: 512,
    admin_seconds: 1,
    kills: 2,
    idle_sessions: 20,
};

const PARTS: [&str; 7] = ["memory", "small", "transfers", "logins", "commits", "admin", "failover"];

#[tokio::main]
async fn main() -> Result<()> {
    let (flags, wanted): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|text| text.starts_with("--"));
    ensure!(flags.iter().all(|flag| flag == "--quick"), "{flags:?}: the only flag is --quick");
    ensure!(wanted.iter().all(|part| PARTS.contains(&part.as_str())), "{wanted:?}: the parts are {PARTS:?}");
    let size = if flags.is_empty() { WHOLE } else { QUICK };
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|name| name == part);
    let binary = flotilla_jepsen::lab::binary()?;
    println!("binary: {} ({:.1} MB)", binary.display(), std::fs::metadata(&binary)?.len() as f64 / 1e6);
    for durability in ["close", "none"] {
        let whole = durability == "close";
        if !whole && !wants("small") && !wants("transfers") {
            continue;
        }
        let started = Instant::now();
        let mut lab = Lab::start_with(3, &["--durability", durability, "--log-level", "warn"]).await?;
        println!("\n== three nodes, durability {durability}; dev to ready: {:.2} s", started.elapsed().as_secs_f64());
        let sshd = Sshd::start(&lab)?;
        // Memory first, on nodes that have done nothing else.
        if whole && wants("memory") {
            memory::per_idle_session(&lab, &sshd, &size).await?;
        }
        if wants("small") {
            files::small(&lab, &sshd, &size).await?;
        }
        if wants("transfers") {
            files::large(&lab, &sshd, &size).await?;
        }
        if whole && wants("logins") {
            rates::logins(&lab, &sshd, &size).await?;
        }
        if whole && wants("commits") {
            rates::commits(&lab, &size).await?;
        }
        if whole && wants("admin") {
            admin::calls(&lab, &size).await?;
        }
        if whole && wants("failover") {
            failover::kills(&mut lab, &size).await?;
        }
    }
    Ok(())
}

/// Our figure beside OpenSSH's of the same run, seconds.
fn beside(what: &str, ours: Vec<f64>, theirs: Vec<f64>) {
    let (ours, theirs) = (median(ours), median(theirs));
    println!("{what}: {ours:.2} s, OpenSSH {theirs:.2} s, ratio {:.2} (over 1: we are faster)", theirs / ours);
}

fn median(values: Vec<f64>) -> f64 {
    percentile(values, 0.5)
}

/// NaN of nothing.
fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or(f64::NAN)
}
