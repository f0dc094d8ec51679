//! Logins and commits per second, with the times that they take.

use std::time::Instant;

use anyhow::Result;
use flotilla_jepsen::client::LoggedIn;
use flotilla_jepsen::lab::Lab;
use futures::stream::{self, StreamExt};
use serde_json::json;

use crate::sshd::Sshd;
use crate::{Size, percentile};

/// By key against OpenSSH with the same key; by password (argon2id, as many as the cores allow) alone.
pub async fn logins(lab: &Lab, sshd: &Sshd, size: &Size) -> Result<()> {
    let key = lab.folder().join("demo.key");
    lab.user("logins", 0, 0, 0).await?;
    for parallel in [1usize, 8] {
        let total = if parallel == 1 { size.logins / 4 } else { size.logins };
        let ours = rate(parallel, total, async |n| {
            let login = LoggedIn::login_with_key(lab.sftp_port(n % 3 + 1), "demo", &key).await;
            leave(login).await
        });
        let ours = ours.await.shown(&format!("logins by key, {parallel} at once"));
        let theirs =
            rate(parallel, total, async |_| leave(LoggedIn::login_with_key(sshd.port, &sshd.user, &key).await).await);
        let theirs = theirs.await.shown("  OpenSSH");
        println!("  ratio {:.2} (over 1: we are faster)", ours / theirs);
        let by_password =
            rate(parallel, total, async |n| leave(LoggedIn::login(lab.sftp_port(n % 3 + 1), "logins").await).await);
        by_password.await.shown(&format!("logins by password, {parallel} at once"));
    }
    Ok(())
}

async fn leave(login: Result<Result<LoggedIn, flotilla_jepsen::client::NoLogin>>) -> bool {
    match login {
        Ok(Ok(own)) => {
            own.leave().await;
            true
        }
        _ => false,
    }
}

/// Acknowledged changes per second through REST, from 1, 16 and 256 clients over three nodes.
pub async fn commits(lab: &Lab, size: &Size) -> Result<()> {
    let mut alone = f64::NAN;
    for clients in [1usize, 16, 256] {
        let total = if clients == 1 { size.commits / 15 } else { size.commits };
        let rests = (1..=3).map(|node| lab.rest(node)).collect::<Result<Vec<_>>>()?;
        let made = rate(clients, total, async |n| {
            let name = format!("c{clients}-{n}");
            let body = json!({"username": name, "status": 1, "permissions": {"/": ["*"]}, "public_keys": []});
            rests[n % 3].post("/api/v2/users", &body).await.is_ok_and(|(status, _)| status == 201)
        });
        let per_second = made.await.shown(&format!("commits (users made by REST), {clients} clients"));
        if clients == 1 {
            alone = per_second;
        } else {
            println!("  ratio to one client {:.1}", per_second / alone);
        }
    }
    Ok(())
}

pub struct Times {
    /// Milliseconds of those that succeeded.
    pub times: Vec<f64>,
    pub failed: usize,
    pub seconds: f64,
}

/// Runs `total` calls, `parallel` at once.
async fn rate(parallel: usize, total: usize, call: impl AsyncFn(usize) -> bool) -> Times {
    let started = Instant::now();
    let call = &call;
    let timed = (0..total).map(|n| async move {
        let before = Instant::now();
        call(n).await.then(|| before.elapsed().as_secs_f64() * 1e3)
    });
    let outcomes: Vec<Option<f64>> = stream::iter(timed).buffer_unordered(parallel).collect().await;
    let times: Vec<f64> = outcomes.into_iter().flatten().collect();
    Times { failed: total - times.len(), times, seconds: started.elapsed().as_secs_f64() }
}

impl Times {
    /// Prints, and returns how many a second.
    pub fn shown(self, what: &str) -> f64 {
        let per_second = self.times.len() as f64 / self.seconds;
        let (p50, p99) = (percentile(self.times.clone(), 0.5), percentile(self.times, 0.99));
        println!("{what}: {per_second:.0}/s, p50 {p50:.1} ms, p99 {p99:.1} ms, {} failed", self.failed);
        per_second
    }
}
