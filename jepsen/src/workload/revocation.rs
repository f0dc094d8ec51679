//! W3: users with sessions on every node that ask all the time, until the user is disabled or deleted.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rand::RngExt;
use serde_json::json;

use super::ssh::{self, Refused};
use super::{Broken, World};
use crate::admin;
use crate::client::Sftp;

const LOGIN: Duration = Duration::from_secs(6);
/// Longer than a lease: a session that goes on after the reply is to be seen to the end.
const ASK: Duration = Duration::from_secs(20);
/// The reply takes at most a second more than the change itself, which may wait for an election.
const REVOKE: Duration = Duration::from_secs(8);
/// A node that did not confirm may serve for a lease time.
const AFTER: Duration = Duration::from_secs(8);

/// Users that are revoked at one time, each at its own moments.
const CLIENTS: u64 = 2;

pub async fn run(world: Arc<World>) {
    futures::future::join_all((0..CLIENTS).map(|client| one_client(&world, client))).await;
}

async fn one_client(world: &World, client: u64) {
    let mut random = world.random(3_000 + client);
    for number in 0.. {
        if world.stopping() {
            return;
        }
        let time = Duration::from_millis(random.random_range(150..900));
        let deletes = random.random_ratio(1, 3);
        let node = world.any_node(&mut random);
        let _ = one_user(world, &format!("w3-{client}-{number}"), node, deletes, time).await;
    }
}

/// After the recovery every node confirms.
pub async fn settle(world: &World) -> Result<()> {
    for node in world.fleet.places() {
        let unconfirmed = one_user(world, &format!("w3-final-{node}"), node, false, Duration::from_millis(300)).await?;
        if !unconfirmed.is_empty() {
            let text = format!("disabling through node {node} after the recovery: {unconfirmed:?} did not confirm");
            return Err(Broken { rule: "R-live", text }.into());
        }
    }
    Ok(())
}

/// The nodes that did not confirm.
async fn one_user(world: &World, user: &str, node: usize, deletes: bool, time: Duration) -> Result<Vec<u64>> {
    world.make_user(user, 0, 0, 0).await?;
    let logins =
        world.fleet.places().map(|node| async move { (node, ssh::login(world.fleet.sftp(node), user, LOGIN).await) });
    let logins = futures::future::join_all(logins).await;
    let (over, watch) = tokio::sync::watch::channel(false);
    let mut sessions = tokio::task::JoinSet::new();
    for (node, login) in logins {
        if let Ok(sftp) = login {
            let (recorder, user, over) = (world.recorder.clone(), user.to_owned(), watch.clone());
            sessions.spawn(async move { ask(&recorder, &user, node, sftp, over).await });
        }
    }
    tokio::time::sleep(time).await;
    let revoked = revoke(world, user, node, deletes).await;
    if revoked.is_ok() {
        let open = world.recorder.invoke(world.recorder.process(), "W3.login", json!({"user": user, "node": node}));
        match ssh::login(world.fleet.sftp(node), user, LOGIN).await {
            Ok(_) => open.ok(json!("in")),
            Err(Refused::Denied) => open.fail("denied"),
            Err(other) => open.fail(format!("{other:?}")),
        };
    }
    let all = async { while sessions.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(AFTER, all).await;
    over.send_replace(true);
    sessions.shutdown().await;
    revoked
}

async fn ask(
    recorder: &crate::history::Recorder,
    user: &str,
    node: usize,
    sftp: Sftp,
    over: tokio::sync::watch::Receiver<bool>,
) {
    let process = recorder.process();
    let mut every = tokio::time::interval(Duration::from_millis(15));
    while !*over.borrow() {
        every.tick().await;
        let open = recorder.invoke(process, "W3.ask", json!({"user": user, "node": node}));
        match tokio::time::timeout(ASK, sftp.raw.stat("/")).await {
            Ok(Ok(_)) => open.ok(json!(null)),
            other => {
                open.info(format!("{other:?}"));
                return;
            }
        };
    }
    sftp.leave().await;
}

async fn revoke(world: &World, user: &str, node: usize, deletes: bool) -> Result<Vec<u64>> {
    let path = format!("/api/v2/users/{user}");
    let disabled = json!({"username": user, "status": 0, "permissions": {"/": ["*"]}});
    let (method, body) = if deletes { ("DELETE", None) } else { ("PUT", Some(&disabled)) };
    let open = world.recorder.invoke(world.recorder.process(), "W3.revoke", json!({"user": user, "how": method}));
    let request = admin::Ask { method, path: &path, body, ..admin::Ask::default() };
    match world.fleet.admin(node).call(request, REVOKE).await {
        Ok(answer) if answer.status == 200 => {
            let unconfirmed = answer.body["unconfirmed_nodes"].as_array().cloned().unwrap_or_default();
            // By place, as everything else in a history; a node that was replaced meanwhile has none.
            let places = unconfirmed.iter().filter_map(|id| world.fleet.place_of(id.as_u64()?));
            let unconfirmed: Vec<u64> = places.map(|place| place as u64).collect();
            open.ok(json!({"unconfirmed": unconfirmed}));
            Ok(unconfirmed)
        }
        Ok(answer) => {
            open.info(format!("{} {}", answer.status, answer.body));
            anyhow::bail!("{method} {path}: {} {}", answer.status, answer.body)
        }
        Err(error) => {
            open.info(error.text.clone());
            anyhow::bail!(error.text)
        }
    }
}
