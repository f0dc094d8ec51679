//! W2: users with few slots, more clients than slots, sessions through all nodes that ask for something all the time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use futures::stream::{FuturesUnordered, StreamExt};
use rand::RngExt;
use serde_json::json;
use tokio::sync::watch;

use super::ssh::{self, Refused};
use super::{Broken, Serving, World};
use crate::client::Sftp;

/// Limits, each with a user and two clients more than slots, and enough of them that some are free while others wait for a frozen node.
const LIMITS: [u64; 3] = [1, 2, 5];
const LEAST_CLIENTS: u64 = 5;
/// A login in the way of a ghost waits up to 8 s; one in an election 5 s.
const LOGIN: Duration = Duration::from_secs(16);
/// Longer than any pause: a client that gave up would close the connection, and the request that waits in the paused server's
/// socket, which is what a pause is to test, would be gone.
const ASK: Duration = Duration::from_secs(40);
/// Questions of one session that may be under way. The next is asked without waiting for the last, so that a paused server finds
/// questions in its socket that came during the pause: to its end, after another session has taken the slot.
const UNDER_WAY: usize = 72;
/// So many at 40 ms from each other, more of them only every 300 ms: they last for the longest pause.
const QUICK: usize = 8;
const SLOW: Duration = Duration::from_millis(300);

pub fn user(max_sessions: u64) -> String {
    format!("w2-{max_sessions}")
}

pub async fn prepare(world: &World) -> Result<()> {
    for limit in LIMITS {
        world.make_user(&user(limit), limit, 0, 0).await?;
        world.recorder.observe("W2.limit", json!({"user": user(limit), "max_sessions": limit}));
    }
    Ok(())
}

pub async fn run(world: Arc<World>) {
    let clients =
        LIMITS.into_iter().flat_map(|limit| (0..LEAST_CLIENTS.max(limit + 2)).map(move |client| (limit, client)));
    let clients = clients.map(|(limit, client)| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { one_client(&world, limit, 2_000 + limit * 100 + client).await })
    });
    futures::future::join_all(clients).await;
}

async fn one_client(world: &World, limit: u64, number: u64) {
    let mut random = world.random(number);
    while !world.stopping() {
        let process = world.recorder.process();
        let node = world.any_node(&mut random);
        match acquire(world, process, &user(limit), node).await {
            Ok(sftp) => {
                // Mostly short; every fifth stays, so that a pause finds a holder.
                let stays = if random.random_ratio(1, 5) { 12_000 } else { 1_500 };
                let time = Duration::from_millis(random.random_range(200..stays));
                let drops = random.random_ratio(1, 4);
                serve(world, process, &user(limit), node, sftp, time, drops).await;
            }
            Err(_) => world.pause(Duration::from_millis(random.random_range(20..400))).await,
        }
    }
}

/// A login and its first answered operation.
async fn acquire(world: &World, process: u64, user: &str, node: usize) -> Result<Sftp, Refused> {
    let open = world.recorder.invoke(process, "W2.acquire", json!({"user": user, "node": node}));
    let sftp = match ssh::login(world.fleet.sftp(node), user, LOGIN).await {
        Ok(sftp) => sftp,
        Err(refused) => {
            match &refused {
                Refused::Limit(text) => open.fail(json!({"limit": text})),
                Refused::Denied => open.fail(json!({"denied": true})),
                Refused::Unavailable(text) => open.info(text.clone()),
            };
            return Err(refused);
        }
    };
    match tokio::time::timeout(ASK, sftp.raw.stat("/")).await {
        Ok(Ok(_)) => {
            open.ok(json!({"node": node}));
            Ok(sftp)
        }
        other => {
            let text = format!("logged in, no answer: {other:?}");
            open.info(text.clone());
            Err(Refused::Unavailable(text))
        }
    }
}

/// Asks for something all the time, for a while; then leaves in order, or drops the connection.
async fn serve(world: &World, process: u64, user: &str, node: usize, sftp: Sftp, time: Duration, drops: bool) {
    world.serves(process, Serving { user: user.to_owned(), node, since_ns: world.recorder.now_ns() });
    let answered = ask_ahead(world, process, user, node, &sftp, time).await;
    world.served(process);
    if !answered {
        return;
    }
    // In the calm clients leave in order.
    if drops && !world.is_calm() {
        world.recorder.invoke(process, "W2.release", json!({"user": user, "node": node})).info("dropped");
        drop(sftp);
    } else {
        let open = world.recorder.invoke(process, "W2.release", json!({"user": user, "node": node}));
        sftp.leave().await;
        open.ok(json!(null));
    }
}

/// Asks every 40 ms, up to `UNDER_WAY` questions ahead, and waits for all answers. False if one did not come: the session is over.
async fn ask_ahead(world: &World, session: u64, user: &str, node: usize, sftp: &Sftp, time: Duration) -> bool {
    let (over, _) = watch::channel(false);
    let mut idle: Vec<u64> = (0..UNDER_WAY).map(|_| world.recorder.process()).collect();
    let mut under_way = FuturesUnordered::new();
    let end = tokio::time::Instant::now() + time;
    let mut every = tokio::time::interval(Duration::from_millis(40));
    let (mut well, mut last, mut heard) = (true, tokio::time::Instant::now(), tokio::time::Instant::now());
    loop {
        // One that gets no answers goes on asking: its node may be frozen, and must not answer what came after its lease.
        let stuck = !under_way.is_empty() && heard.elapsed() > SLOW;
        let asks = well && (stuck || tokio::time::Instant::now() < end) && !world.stopping();
        if !asks && under_way.is_empty() {
            return well;
        }
        tokio::select! {
            Some((process, answered)) = under_way.next() => {
                idle.push(process);
                heard = tokio::time::Instant::now();
                well &= answered;
                over.send_replace(!well);
            }
            _ = every.tick(), if asks => {
                let due = under_way.len() < QUICK || last.elapsed() >= SLOW;
                if let Some(process) = idle.pop_if(|_| due) {
                    last = tokio::time::Instant::now();
                    let question = json!({"user": user, "node": node, "session": session});
                    let open = world.recorder.invoke(process, "W2.ask", question);
                    let mut over = over.subscribe();
                    under_way.push(async move {
                        let answer = tokio::select! {
                            answer = tokio::time::timeout(ASK, sftp.raw.stat("/")) => answer,
                            _ = over.wait_for(|over| *over) => {
                                open.info("the session is over");
                                return (process, false);
                            }
                        };
                        let answered = matches!(answer, Ok(Ok(_)));
                        if answered { open.ok(json!(null)) } else { open.info(format!("{answer:?}")) };
                        (process, answered)
                    });
                }
            }
        }
    }
}

/// After the recovery: for want of a quorum it is asked for again.
async fn acquire_again(world: &World, user: &str, node: usize) -> (u64, Result<Sftp, Refused>) {
    let end = tokio::time::Instant::now() + super::AFTER_RECOVERY;
    loop {
        let process = world.recorder.process();
        match acquire(world, process, user, node).await {
            Err(Refused::Unavailable(_)) if tokio::time::Instant::now() < end => {}
            other => return (process, other),
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// A slot that must be free and is not; without an answer nothing is known.
fn not_had(refused: &Refused, number: u64, limit: u64) -> anyhow::Error {
    let text = format!("slot {number} of {limit}: {refused:?}");
    match refused {
        Refused::Unavailable(_) => anyhow::Error::msg(text),
        _ => Broken { rule: "S-live", text }.into(),
    }
}

/// S-live: exactly as many as the limit can be had at once, one more is refused, and none of them is a ghost.
pub async fn settle(world: &World) -> Result<()> {
    for limit in LIMITS {
        let mut held = Vec::new();
        for number in 0..limit {
            let node = number as usize % world.fleet.size() + 1;
            let (process, got) = acquire_again(world, &user(limit), node).await;
            held.push((process, node, got.map_err(|refused| not_had(&refused, number + 1, limit))?));
        }
        let (_, more) = acquire_again(world, &user(limit), 1).await;
        match more {
            Err(Refused::Limit(_)) => {}
            Err(refused) => bail!("login {} of {limit}: {refused:?}", limit + 1),
            Ok(_) => {
                let text = format!("login {} of {limit} was let in", limit + 1);
                return Err(Broken { rule: "S-live", text }.into());
            }
        }
        for (process, node, sftp) in held {
            let open = world.recorder.invoke(process, "W2.release", json!({"user": user(limit), "node": node}));
            sftp.leave().await;
            open.ok(json!(null));
        }
    }
    Ok(())
}
