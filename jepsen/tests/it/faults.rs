//! P8 and more by hand: kill -9, restarts, a minority.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flotilla_jepsen::client::{NoLogin, Sftp, Upload, openssh_sftp_by_password};
use flotilla_jepsen::lab::{Lab, password_of};
use serde_json::json;
use tokio::sync::watch;

/// A lease, the leader's margin, an election, and room for a slow machine.
const LEASE: Duration = Duration::from_secs(12);
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_leader_is_survived_and_rejoins() {
    let mut lab = Lab::start(3).await.unwrap();
    lab.user("survivor", 0, 100 << 20, 0).await.unwrap();
    let leader = lab.leader().await.unwrap();
    let (other, third) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let running = Sftp::login(lab.sftp_port(other), "survivor").await.unwrap().expect("login");
    let stored = Sftp::login(lab.sftp_port(leader), "survivor").await.unwrap().expect("login");
    assert!(matches!(stored.upload("/acknowledged", 1 << 20, 32768).await, Upload::Stored));
    let raw = running.raw.clone();
    let handle = running.create("/through").await.unwrap();
    raw.write(&handle, 0, vec![1; 32768]).await.unwrap();
    lab.kill(leader).unwrap();
    let killed = Instant::now();
    let written = AtomicU64::new(0);
    let transfer = async {
        let mut every = tokio::time::interval(Duration::from_millis(25));
        for at in 1..20u64 {
            every.tick().await;
            raw.write(&handle, at * 32768, vec![1; 32768]).await.expect("the transfer goes on");
            written.fetch_add(1, Ordering::AcqRel);
        }
    };
    let login = async {
        let login = Sftp::login(lab.sftp_port(third), "survivor").await.unwrap();
        (login, killed.elapsed(), written.load(Ordering::Acquire))
    };
    let ((), (login, took, meanwhile)) = tokio::join!(transfer, login);
    eprintln!("login {took:?} after the leader was killed");
    assert!(login.is_ok(), "{:?}\n{}", login.err(), lab.log_tails());
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert!(meanwhile > 0, "nothing of the transfer was answered before the login");
    raw.close(&handle).await.expect("the transfer ends well");
    assert_eq!(std::fs::metadata(lab.files().join("survivor/acknowledged")).unwrap().len(), 1 << 20);
    lab.restart(leader).await.unwrap();
    lab.until_ready(Duration::from_secs(20)).await.unwrap();
    let back = Sftp::login(lab.sftp_port(leader), "survivor").await.unwrap().expect("the node serves again");
    assert_eq!(back.download("/acknowledged").await.unwrap().len(), 1 << 20);
}

/// Makes users through a node, one after the other, until it is gone; the names of those that were acknowledged.
async fn make_until_gone(lab: &Lab, node: usize, prefix: String, acknowledged: &watch::Sender<usize>) -> Vec<String> {
    let rest = lab.rest(node).unwrap();
    let mut made = Vec::new();
    for n in 0..5_000 {
        let name = format!("{prefix}n{n}");
        let body = json!({"username": name, "status": 1, "permissions": {"/": ["*"]}, "description": name});
        match rest.post("/api/v2/users", &body).await {
            Ok((201, _)) => {
                made.push(name);
                acknowledged.send_modify(|count| *count += 1);
            }
            Ok((status, answer)) if status >= 500 => eprintln!("{name}: {status} {answer}"),
            Ok((status, answer)) => panic!("{name}: {status} {answer}"),
            Err(_) => break,
        }
    }
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_leader_acknowledged_right_before_it_was_killed_is_in_the_log_of_all() {
    let mut lab = Lab::start(3).await.unwrap();
    lab.user("changed", 0, 0, 0).await.unwrap();
    for round in 0..4u64 {
        let leader = lab.leader().await.unwrap();
        let (acknowledged, mut seen) = watch::channel(0);
        let makers = (0..8).map(|maker| make_until_gone(&lab, leader, format!("r{round}m{maker}"), &acknowledged));
        let killer = async {
            seen.wait_for(|count| *count >= 60).await.unwrap();
            // Directly behind the answer to a change.
            let mut body = lab.rest(leader).unwrap().get("/api/v2/users/changed").await.unwrap().1;
            body["description"] = format!("round {round}").into();
            let (status, answer) = lab.rest(leader).unwrap().put("/api/v2/users/changed", &body).await.unwrap();
            lab.signal(leader, rustix::process::Signal::KILL).unwrap();
            assert_eq!(status, 200, "{answer}");
        };
        let (made, ()) = tokio::join!(futures::future::join_all(makers), killer);
        let made: Vec<String> = made.into_iter().flatten().collect();
        let other = leader % 3 + 1;
        lab.until(LEASE, "another leads", async || {
            Ok(lab.rest(other)?.get("/api/v2/users/changed").await.is_ok_and(|(status, _)| status == 200))
        })
        .await
        .unwrap();
        lab.restart(leader).await.unwrap();
        lab.until_ready(Duration::from_secs(20)).await.unwrap();
        for node in 1..=3 {
            let rest = lab.rest(node).unwrap();
            let (_, changed) = rest.get("/api/v2/users/changed").await.unwrap();
            assert_eq!(changed["description"], format!("round {round}"), "node {node}: {changed}");
            for name in &made {
                let (status, user) = rest.get(&format!("/api/v2/users/{name}")).await.unwrap();
                assert_eq!((status, user["description"].as_str()), (200, Some(name.as_str())), "node {node}: {user}");
            }
        }
        eprintln!("round {round}: {} users were acknowledged, none is missing", made.len());
        assert!(made.len() >= 40, "{} were acknowledged", made.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_node_had_not_settled_comes_back_by_a_scan() {
    let mut lab = Lab::start(3).await.unwrap();
    lab.user("settled", 0, 64 << 20, 0).await.unwrap();
    let leader = lab.leader().await.unwrap();
    let victim = leader % 3 + 1;
    let session = Sftp::login(lab.sftp_port(victim), "settled").await.unwrap().expect("login");
    assert!(matches!(session.upload("/kept", 3 << 20, 32768).await, Upload::Stored));
    let handle = session.create("/unfinished").await.unwrap();
    session.raw.write(&handle, 0, vec![1; 200_000]).await.unwrap();
    lab.kill(victim).unwrap();
    lab.restart(victim).await.unwrap();
    lab.until_ready(Duration::from_secs(20)).await.unwrap();
    lab.until(Duration::from_secs(40), "usage equals what is stored", async || {
        let (_, user) = lab.rest(leader)?.get("/api/v2/users/settled").await?;
        Ok(user["used_quota_size"].as_u64() == Some(3 << 20) && user["used_quota_files"].as_u64() == Some(1))
    })
    .await
    .unwrap();
    assert_eq!(lab.stored("settled").unwrap(), (3 << 20, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn minority_refuses_with_a_reason_and_recovers_without_a_hand() {
    let mut lab = Lab::start(3).await.unwrap();
    lab.user("minority", 0, 0, 0).await.unwrap();
    lab.kill(1).unwrap();
    lab.kill(2).unwrap();
    lab.until(LEASE, "/readyz of the third node says 503", async || {
        Ok(lab.rest(3)?.get("/readyz").await.is_ok_and(|(status, _)| status == 503))
    })
    .await
    .unwrap();
    match Sftp::login(lab.sftp_port(3), "minority").await.unwrap() {
        Err(NoLogin::Disconnected(_)) => {}
        other => panic!("a minority must neither admit nor deny: {:?}", other.err()),
    }
    let password = password_of("minority");
    let (ok, out, errors) = openssh_sftp_by_password(lab.sftp_port(3), "minority", &password, "pwd\n").await.unwrap();
    assert!(!ok && errors.contains("no quorum") && !errors.contains("denied"), "{out}{errors}");
    lab.restart(1).await.unwrap();
    lab.restart(2).await.unwrap();
    lab.until_ready(Duration::from_secs(30)).await.unwrap();
    for node in 1..=3 {
        let login = Sftp::login(lab.sftp_port(node), "minority").await.unwrap();
        assert!(login.is_ok(), "node {node}: {:?}\n{}", login.err(), lab.log_tails());
    }
}
