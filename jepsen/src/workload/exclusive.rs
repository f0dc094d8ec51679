//! W5: one session at a time may write, through any node; more clients than that want to, over the same few names. What a session that
//! was lost had begun must not appear behind what the next one was told is stored.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::RngExt;
use serde_json::json;

use super::ssh::{self, Ended};
use super::{Serving, World};
use crate::client::Sftp;
use crate::content::{content, recognise};

const USER: &str = "w5";
const CLIENTS: u64 = 3;
const NAMES: u64 = 3;
/// A login in the way of a ghost waits up to 8 s.
const LOGIN: Duration = Duration::from_secs(12);
/// Longer than any pause: an upload to a frozen node is still asked for when the node goes on.
const STEP: Duration = Duration::from_secs(30);

pub async fn prepare(world: &World) -> Result<()> {
    world.make_user(USER, 1, 0, 0).await
}

pub async fn run(world: Arc<World>) {
    let clients = (0..CLIENTS).map(|client| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { one_client(&world, 5_000 + client).await })
    });
    futures::future::join_all(clients.collect::<Vec<_>>()).await;
}

async fn one_client(world: &World, number: u64) {
    let mut random = world.random(number);
    while !world.stopping() {
        let node = world.any_node(&mut random);
        let Ok(session) = ssh::login(world.fleet.sftp(node), USER, LOGIN).await else {
            let rest = Duration::from_millis(random.random_range(20..300));
            world.pause(rest).await;
            continue;
        };
        let process = world.recorder.process();
        let since_ns = world.recorder.now_ns();
        world.serves(process, Serving { user: USER.to_owned(), node, since_ns });
        let end = tokio::time::Instant::now() + Duration::from_millis(random.random_range(200..5_000));
        let mut next = process << 20;
        let mut well = true;
        while well && !world.stopping() && tokio::time::Instant::now() < end {
            let path = format!("/n{}", random.random_range(0..NAMES));
            next += 1;
            well = match random.random_range(0..10) {
                0..6 => put(world, process, &session, node, &path, (next, random.random_range(16..400_000))).await,
                6 => remove(world, process, &session, node, &path).await,
                _ => read(world, process, &session, node, &path).await.is_ok(),
            };
        }
        world.served(process);
        if well && random.random_ratio(3, 4) {
            session.leave().await;
        }
    }
}

/// Whether it was answered for certain.
async fn put(world: &World, process: u64, session: &Sftp, node: usize, path: &str, what: (u64, usize)) -> bool {
    let (id, size) = what;
    let asked = json!({"path": path, "content": id, "size": size, "node": node});
    let open = world.recorder.invoke(process, "W5.put", asked);
    let ended = ssh::upload(session, path, &content(id, size), None, STEP).await;
    close(open, &ended)
}

async fn remove(world: &World, process: u64, session: &Sftp, node: usize, path: &str) -> bool {
    let open = world.recorder.invoke(process, "W5.remove", json!({"path": path, "node": node}));
    close(open, &ssh::remove(session, path, STEP).await)
}

fn close(open: crate::history::Open, ended: &Ended) -> bool {
    ended.close(open);
    // A failure that left the session alive is met again at the next request.
    !matches!(ended, Ended::Unknown(_))
}

async fn read(world: &World, process: u64, session: &Sftp, node: usize, path: &str) -> Result<()> {
    let open = world.recorder.invoke(process, "W5.read", json!({"path": path, "node": node}));
    match ssh::read(session, path, STEP).await {
        Ok(seen) => {
            open.ok(json!({"saw": recognise(seen.as_deref())}));
            Ok(())
        }
        Err(text) => {
            open.fail(text.clone());
            anyhow::bail!(text)
        }
    }
}

/// After the recovery every node shows the same.
pub async fn settle(world: &World) -> Result<()> {
    for node in world.fleet.places() {
        let session = super::login_after_recovery(world, node, USER).await?;
        let process = world.recorder.process();
        for name in 0..NAMES {
            let path = format!("/n{name}");
            read(world, process, &session, node, &path).await.with_context(|| format!("{path} on node {node}"))?;
        }
        ensure!(put(world, process, &session, node, "/n0", ((process << 20) + 1, 1_000)).await, "a put on node {node}");
        session.leave().await;
    }
    Ok(())
}
