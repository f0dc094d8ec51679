//! One slot on a node that is killed, asked for all the time through every other node, from before the kill until somebody has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flotilla_jepsen::client::{NoLogin, Sftp};
use flotilla_jepsen::lab::Lab;
use serde_json::Value;
use tokio::sync::watch;

/// A lease, the leader's margin, an election, and room for a slow machine.
const LEASE: Duration = Duration::from_secs(12);
/// No lease can have freed anything before: TTL(1 - ρ) of 5.94 s, counted from the last renewal, at most 1.5 s before the kill.
const NO_LEASE_YET: Duration = Duration::from_millis(4_440);
/// Who asks through one node.
const ASKERS: usize = 2;

/// A login that was tried.
struct Attempt {
    begun: Instant,
    ended: Instant,
    /// The session, or what was said.
    outcome: Result<Sftp, String>,
}

/// Logs in again and again, without a pause, until somebody has the slot. Counts refusals aloud.
async fn ask(port: u16, refused: watch::Sender<usize>, over: Arc<AtomicBool>) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    while !over.load(Ordering::Acquire) {
        let begun = Instant::now();
        let login = Sftp::login(port, "waits").await.unwrap();
        let ended = Instant::now();
        if login.is_ok() {
            over.store(true, Ordering::Release);
        } else {
            refused.send_modify(|count| *count += 1);
        }
        let outcome = login.map_err(|no| match no {
            NoLogin::Denied => "denied".to_owned(),
            NoLogin::Disconnected(why) => why,
        });
        attempts.push(Attempt { begun, ended, outcome });
    }
    attempts
}

/// Kind, object and user of each event behind `since`, in the log's order; the number of the last event.
async fn history(lab: &Lab, through: usize, since: u64) -> (Vec<(String, String, String)>, u64) {
    let path = format!("/api/v2/events?since={since}&limit=1000");
    let (status, page) = lab.rest(through).unwrap().get(&path).await.unwrap();
    assert_eq!(status, 200, "{page}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let told = |event: &Value| (text(&event["kind"]), text(&event["object_name"]), text(&event["details"]["username"]));
    (page["events"].as_array().unwrap().iter().map(told).collect(), page["last"].as_u64().unwrap())
}

/// Kills the node that has the slot, and starts it again if it is to. The session that then got the slot, and how long after the kill.
async fn asked_all_the_time(lab: &mut Lab, victim: usize, restart: bool) -> (Sftp, Duration) {
    let through = victim % 3 + 1;
    let (_, since) = history(lab, through, 0).await;
    let held = Sftp::login(lab.sftp_port(victim), "waits").await.unwrap().expect("login");
    let over = Arc::new(AtomicBool::new(false));
    let (refused, mut refusals) = watch::channel(0);
    let survivors = (1..=3).filter(|node| *node != victim).flat_map(|node| [node; ASKERS]);
    let askers: Vec<_> =
        survivors.map(|node| tokio::spawn(ask(lab.sftp_port(node), refused.clone(), Arc::clone(&over)))).collect();
    // They ask before it happens, and are told who is in the way.
    let asked = tokio::time::timeout(LEASE, refusals.wait_for(|count| *count >= 4 * ASKERS)).await.is_ok();
    assert!(asked, "nobody is refused\n{}", lab.log_tails());
    lab.kill(victim).unwrap();
    let killed = Instant::now();
    if restart {
        lab.restart(victim).await.unwrap();
    }
    let mut attempts = Vec::new();
    for asker in askers {
        attempts.extend(tokio::time::timeout(3 * LEASE, asker).await.expect("it ends").unwrap());
    }
    let granted = attempts.iter().find(|attempt| attempt.outcome.is_ok()).map(|attempt| attempt.ended).expect("one");
    for attempt in &attempts {
        let Err(why) = &attempt.outcome else { continue };
        assert!(why.contains("1 of 1 sessions"), "{why}\n{}", lab.log_tails());
        // Who asks while the node is dead waits: the dead session stands in nobody's way then, only the one that got the slot does.
        let by_the_dead = why.contains(&format!("from {} since", held.valve.local_address()));
        assert!(attempt.begun <= killed || !by_the_dead, "refused: {why}\n{}", lab.log_tails());
    }
    // The log's own order: nobody has the slot before the dead node's lease ended, or it registered anew.
    let (events, _) = history(lab, through, since).await;
    let opened = |(kind, _, user): &(String, String, String)| kind == "session_opened" && user == "waits";
    let places: Vec<usize> = (0..events.len()).filter(|at| opened(&events[*at])).collect();
    assert_eq!(places.len(), 2, "one before and one after: {events:#?}");
    let freed = if restart { "node_up" } else { "node_down" };
    let between = &events[places[0]..places[1]];
    let frees = |(kind, node, _): &&(String, String, String)| kind == freed && *node == victim.to_string();
    assert!(between.iter().any(|event| frees(&event)), "opened before {freed} of {victim}: {events:#?}");
    eprintln!("{} attempts; the slot was granted {:?} after the kill", attempts.len(), granted - killed);
    let mut sessions: Vec<Sftp> = attempts.into_iter().filter_map(|attempt| attempt.outcome.ok()).collect();
    assert_eq!(sessions.len(), 1, "one slot\n{}", lab.log_tails());
    (sessions.remove(0), granted - killed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slot_of_a_killed_node_is_asked_for_all_the_time_and_granted_by_its_lease_or_its_registration_only() {
    let mut lab = Lab::start(3).await.unwrap();
    lab.user("waits", 1, 0, 0).await.unwrap();
    let victim = lab.leader().await.unwrap() % 3 + 1;
    let (session, took) = asked_all_the_time(&mut lab, victim, false).await;
    assert!(took >= NO_LEASE_YET && took < LEASE, "freed after {took:?}");
    session.raw.stat("/").await.expect("it serves");
    session.leave().await;

    // Its own registration frees it, before any lease can have.
    lab.restart(victim).await.unwrap();
    lab.until_ready(Duration::from_secs(20)).await.unwrap();
    let (session, took) = asked_all_the_time(&mut lab, victim, true).await;
    assert!(took < NO_LEASE_YET, "{took:?}: the lease may have freed it");
    session.raw.stat("/").await.expect("it serves");
    session.leave().await;

    // The leader itself.
    lab.until_ready(Duration::from_secs(20)).await.unwrap();
    let leader = lab.leader().await.unwrap();
    let (_session, took) = asked_all_the_time(&mut lab, leader, false).await;
    assert!(took >= NO_LEASE_YET && took < LEASE, "freed after {took:?}");
}
