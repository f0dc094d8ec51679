//! Memory per idle session: what a node's resident memory grows by, beside OpenSSH's processes.

use anyhow::{Context, Result, ensure};
use flotilla_jepsen::client::{LoggedIn, Sftp};
use flotilla_jepsen::lab::Lab;
use futures::stream::{self, StreamExt};

use crate::Size;
use crate::sshd::Sshd;

/// What a session may take, and what 10,000 of them may take on a node (`reference/testing.md` T10), KiB.
const SESSION_BUDGET: f64 = 60.0;
const NODE_BUDGET: f64 = 600.0 * 1024.0;

pub async fn per_idle_session(lab: &Lab, sshd: &Sshd, size: &Size) -> Result<()> {
    let key = lab.folder().join("demo.key");
    let node = [lab.pid(1) as u32];
    // The first login makes what all share.
    drop(login(lab.sftp_port(1), "demo", &key).await?);
    let before = memory(&node, "Rss")?;
    let sessions = many(lab.sftp_port(1), "demo", &key, size.idle_sessions).await?;
    let after = memory(&node, "Rss")?;
    let ours = after.saturating_sub(before) as f64 / sessions.len() as f64;
    let of_10_000 = before as f64 + 10_000.0 * ours;
    println!(
        "memory of a node: {before} KiB fresh, {after} KiB with {} idle sessions: {ours:.1} KiB each, ratio to the budget of \
         {SESSION_BUDGET} KiB {:.2}; 10,000 would take {:.0} MiB, ratio to the budget of 600 MiB {:.2}",
        sessions.len(),
        SESSION_BUDGET / ours,
        of_10_000 / 1024.0,
        NODE_BUDGET / of_10_000
    );
    drop(sessions);

    // Processes share pages: the proportional size is what one more costs.
    let before = memory(&sshd.processes()?, "Pss")?;
    let sessions = many(sshd.port, &sshd.user, &key, size.idle_sessions.min(100)).await?;
    let after = memory(&sshd.processes()?, "Pss")?;
    let theirs = after.saturating_sub(before) as f64 / sessions.len() as f64;
    println!("  OpenSSH {theirs:.0} KiB each, ratio {:.1} (over 1: we take less)", theirs / ours);
    Ok(())
}

async fn login(port: u16, user: &str, key: &std::path::Path) -> Result<Sftp> {
    let own = LoggedIn::login_with_key(port, user, key).await?;
    let own = own.map_err(|no| anyhow::anyhow!("{user} on port {port}: {no:?}"))?;
    own.sftp().await.map_err(|no| anyhow::anyhow!("{user} on port {port}: {no:?}"))
}

async fn many(port: u16, user: &str, key: &std::path::Path, count: usize) -> Result<Vec<Sftp>> {
    let logins = stream::iter(0..count).map(|_| login(port, user, key)).buffer_unordered(8);
    let sessions: Vec<Result<Sftp>> = logins.collect().await;
    let sessions: Vec<Sftp> = sessions.into_iter().collect::<Result<_>>()?;
    ensure!(!sessions.is_empty(), "no sessions");
    Ok(sessions)
}

/// The sum of a row of `smaps_rollup`, KiB.
fn memory(processes: &[u32], row: &str) -> Result<u64> {
    let mut sum = 0;
    for pid in processes {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = text.lines().find(|line| line.starts_with(&format!("{row}:"))).context("no such row")?;
        sum += line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).context("no number")?;
    }
    Ok(sum)
}
