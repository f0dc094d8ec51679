//! From kill -9 of the leader to the next login through another node.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use flotilla_jepsen::client::LoggedIn;
use flotilla_jepsen::lab::Lab;

use crate::{Size, percentile};

pub async fn kills(lab: &mut Lab, size: &Size) -> Result<()> {
    let key = lab.folder().join("demo.key");
    let mut times = Vec::new();
    for _ in 0..size.kills {
        let leader = lab.leader().await?;
        lab.kill(leader)?;
        let killed = Instant::now();
        let login = LoggedIn::login_with_key(lab.sftp_port(leader % 3 + 1), "demo", &key).await?;
        times.push(killed.elapsed().as_secs_f64());
        match login {
            Ok(own) => own.leave().await,
            Err(no) => anyhow::bail!("no login after the leader was killed: {no:?}"),
        }
        lab.restart(leader).await?;
        lab.until_ready(Duration::from_secs(30)).await?;
    }
    ensure!(!times.is_empty(), "nothing was killed");
    let at = |share| percentile(times.clone(), share);
    println!(
        "kill -9 of the leader to the next login, {} times: p50 {:.2} s, p99 {:.2} s, ratio to the promised 2 s {:.2}",
        times.len(),
        at(0.5),
        at(0.99),
        2.0 / at(0.99)
    );
    Ok(())
}
