//! P8 and more by hand: kill -9, restarts, a minority.

use std::time::{Duration, Instant};

use flotilla_jepsen::client::{NoLogin, Sftp, Upload};
use flotilla_jepsen::lab::Lab;

/// A lease, the leader's margin, an election, and room for a slow machine.
const LEASE: Duration = Duration::from_secs(12);
/// No lease can have freed anything before: TTL(1 - ρ) of 5.94 s, counted from the last renewal, at most 1.5 s before the kill.
const NO_LEASE_YET: Duration = Duration::from_millis(4_440);

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
    let login = Sftp::login(lab.sftp_port(third), "survivor").await.unwrap();
    let took = killed.elapsed();
    eprintln!("login {took:?} after the leader was killed");
    assert!(login.is_ok(), "{:?}\n{}", login.err(), lab.log_tails());
    assert!(took < Duration::from_secs(4), "{took:?}");
    for at in 1..20u64 {
        raw.write(&handle, at * 32768, vec![1; 32768]).await.expect("the transfer goes on");
    }
    raw.close(&handle).await.expect("the transfer ends well");
    assert_eq!(std::fs::metadata(lab.files().join("survivor/acknowledged")).unwrap().len(), 1 << 20);
    lab.restart(leader).await.unwrap();
    lab.until_ready(Duration::from_secs(20)).await.unwrap();
    let back = Sftp::login(lab.sftp_port(leader), "survivor").await.unwrap().expect("the node serves again");
    assert_eq!(back.download("/acknowledged").await.unwrap().len(), 1 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slot_of_a_killed_node_waits_for_its_lease_and_is_not_refused() {
    let mut lab = Lab::start(3).await.unwrap();
    lab.user("waits", 1, 0, 0).await.unwrap();
    let leader = lab.leader().await.unwrap();
    let victim = leader % 3 + 1;
    let survivor = lab.sftp_port(leader);
    let _held = Sftp::login(lab.sftp_port(victim), "waits").await.unwrap().expect("login");
    lab.kill(victim).unwrap();
    let killed = Instant::now();
    let login = Sftp::login(survivor, "waits").await.unwrap();
    let took = killed.elapsed();
    assert!(login.is_ok(), "{:?} after {took:?}\n{}", login.err(), lab.log_tails());
    assert!(took >= NO_LEASE_YET && took < LEASE, "slot came free after {took:?}");
    eprintln!("freed by the lease {took:?} after the kill");
    login.expect("looked at above").leave().await;

    // A restart frees by its own registration, without waiting for the lease.
    lab.restart(victim).await.unwrap();
    lab.until_ready(Duration::from_secs(20)).await.unwrap();
    let _held = Sftp::login(lab.sftp_port(victim), "waits").await.unwrap().expect("login");
    lab.kill(victim).unwrap();
    let killed = Instant::now();
    lab.restart(victim).await.unwrap();
    let restarted = killed.elapsed();
    let login = Sftp::login(survivor, "waits").await.unwrap();
    let took = killed.elapsed();
    eprintln!("restarted {restarted:?}, freed by the registration {took:?} after the kill");
    assert!(login.is_ok(), "{:?} after {took:?}\n{}", login.err(), lab.log_tails());
    assert!(took < NO_LEASE_YET, "{took:?}: the lease may have freed it; answering again took {restarted:?}");
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
        Err(NoLogin::Disconnected(reason)) => eprintln!("the minority says: {reason}"),
        other => panic!("a minority must neither admit nor deny: {:?}", other.err()),
    }
    lab.restart(1).await.unwrap();
    lab.restart(2).await.unwrap();
    lab.until_ready(Duration::from_secs(30)).await.unwrap();
    for node in 1..=3 {
        let login = Sftp::login(lab.sftp_port(node), "minority").await.unwrap();
        assert!(login.is_ok(), "node {node}: {:?}\n{}", login.err(), lab.log_tails());
    }
}
