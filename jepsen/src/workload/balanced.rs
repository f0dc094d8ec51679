//! W10: clients that upload through a balancer and try again as scripts do. Whatever happens to single nodes, every upload is stored
//! in the end, and nobody is refused for a slot that a drained node has left behind.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use rand::RngExt;
use serde_json::json;

use super::World;
use super::ssh::{self, Ended, Refused};
use crate::content::{content, recognise};
use crate::net::balancer::Balancer;

const USER: &str = "w10";
/// As many as the user may have sessions.
const CLIENTS: u64 = 4;
const LOGIN: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_millis(300);
/// Tries of one upload end after this: lost nodes, a lease, an election and a recovery are shorter.
const UPLOAD: Duration = Duration::from_secs(50);

pub async fn prepare(world: &World) -> Result<()> {
    world.make_user(USER, CLIENTS, 0, 0).await
}

pub async fn run(world: Arc<World>) {
    let balancer = match Balancer::start(Arc::clone(&world.fleet)).await {
        Ok(balancer) => balancer,
        Err(error) => {
            world.recorder.observe(crate::check::judge::PROBLEM, json!(format!("{error:#}")));
            return;
        }
    };
    let address = balancer.address();
    let clients = (0..CLIENTS).map(|client| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let mut random = world.random(10_000 + client);
            let mut number = 0;
            while !world.stopping() {
                number += 1;
                let size = random.random_range(1_000..1_000_000);
                upload(&world, address, &format!("/c{client}-{number}"), size).await;
                let rest = Duration::from_millis(random.random_range(50..400));
                world.pause(rest).await;
            }
        })
    });
    futures::future::join_all(clients.collect::<Vec<_>>()).await;
}

/// One upload with all its tries; each try has a content of its own, so that a read says which one it was.
async fn upload(world: &World, address: std::net::SocketAddr, path: &str, size: usize) {
    let process = world.recorder.process();
    let whole = world.recorder.invoke(process, "W10.upload", json!({"path": path}));
    let end = tokio::time::Instant::now() + UPLOAD;
    let (mut tries, mut limits, mut last) = (0, 0, String::new());
    while tokio::time::Instant::now() < end {
        tries += 1;
        match ssh::login(address, USER, LOGIN).await {
            Ok(session) => {
                let process = world.recorder.process();
                let id = process << 20;
                let open =
                    world.recorder.invoke(process, "W10.put", json!({"path": path, "content": id, "size": size}));
                let ended = ssh::upload(&session, path, &content(id, size), None, STEP).await;
                ended.close(open);
                if let Ended::Failed(text) | Ended::Unknown(text) = &ended {
                    last = text.clone();
                    drop(session);
                } else {
                    session.leave().await;
                    whole.ok(json!({"tries": tries, "limits": limits}));
                    return;
                }
            }
            Err(Refused::Limit(text)) => {
                limits += 1;
                last = text;
            }
            Err(refused) => last = format!("{refused:?}"),
        }
        tokio::time::sleep(AGAIN).await;
    }
    whole.info(format!("after {tries} tries, {limits} of them refused for the limit: {last}"));
}

/// Every upload that was acknowledged is read whole, through the nodes in turn.
pub async fn settle(world: &World) -> Result<()> {
    let records = world.recorder.records();
    let operations = crate::history::pair(&records)?;
    let paths: std::collections::BTreeSet<&str> =
        operations.iter().filter(|one| one.f == "W10.upload").filter_map(|one| one.asked["path"].as_str()).collect();
    let paths: Vec<&str> = paths.into_iter().collect();
    for node in world.fleet.places() {
        let session = super::login_after_recovery(world, node, USER).await?;
        for path in paths.iter().skip(node - 1).step_by(world.fleet.size()) {
            let open = world.recorder.invoke(world.recorder.process(), "W10.read", json!({"path": path, "node": node}));
            match ssh::read(&session, path, STEP).await {
                Ok(seen) => _ = open.ok(json!({"saw": recognise(seen.as_deref())})),
                Err(text) => {
                    open.fail(text.clone());
                    bail!("{path} on node {node} after the recovery: {text}");
                }
            }
        }
        session.leave().await;
    }
    Ok(())
}
