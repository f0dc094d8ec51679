//! A node that is removed while it runs: its clients and its peer connections end at once, its number is used up.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use flotilla_jepsen::client::{Sftp, Upload, pattern};
use flotilla_jepsen::fleet::Fleet;

/// Less than a lease runs (6 s), more than a busy machine makes of "at once".
const AT_ONCE: Duration = Duration::from_secs(5);

async fn login(fleet: &Fleet, machine: usize) -> Sftp {
    let session = Sftp::login(fleet.sftp_port(machine), "member").await.unwrap();
    session.unwrap_or_else(|no| panic!("login on machine {machine}: {no:?}\n{}", fleet.log(machine)))
}

/// Local and remote port of each connection of this process to or from a peer port.
fn peer_connections(fleet: &Fleet, machine: usize) -> BTreeSet<(u16, u16)> {
    let peers: BTreeSet<u16> = (1..=3).map(|machine| fleet.peer_port(machine)).collect();
    let inodes: BTreeSet<String> =
        std::fs::read_dir(format!("/proc/{}/fd", fleet.pid(machine).unwrap().as_raw_nonzero()))
            .unwrap()
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
            .collect();
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut found = BTreeSet::new();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (Some(local), Some(remote)) = (port(fields[1]), port(fields[2])) else { continue };
        // 01 is established.
        if fields[3] == "01" && inodes.contains(fields[9]) && (peers.contains(&local) || peers.contains(&remote)) {
            found.insert((local, remote));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_nodes_clients_and_peer_connections_end_at_once() {
    let mut fleet = Fleet::cluster(3).await.unwrap();
    fleet.user(1, "member").await.unwrap();
    // Once a follower is removed; then, of the three that there are again, the leader.
    for (round, leads) in [(0, false), (1, true)] {
        let machine = 3;
        let id = fleet.with_role(1, &["leader", "voter"]).await.unwrap().into_iter().max().unwrap();
        let leader = if leads { id } else { 1 };
        fleet.admin(1, &["cluster", "transfer", &leader.to_string()]).await.unwrap().ok().unwrap();
        let idle = login(&fleet, machine).await;
        let busy = login(&fleet, machine).await;
        let path = format!("/half{round}.bin");
        let handle = busy.create(&path).await.unwrap();
        busy.raw.write(handle.clone(), 0, pattern(0, 32_768)).await.unwrap();
        let elsewhere = login(&fleet, 1).await;
        let before = peer_connections(&fleet, machine);
        assert!(before.len() >= 4, "to and from two others: {before:?}");

        let begin = Instant::now();
        let id = id.to_string();
        let remove = ["cluster", "remove", id.as_str()];
        let (removed, ended) = tokio::join!(fleet.admin(1, &remove), async {
            assert!(idle.valve.reset(Duration::from_secs(30)).await.unwrap(), "an idle session ends");
            assert!(busy.valve.reset(Duration::from_secs(30)).await.unwrap(), "a transfer ends");
            let sessions = begin.elapsed();
            fleet
                .until("no connection from before is left", async || {
                    Ok(peer_connections(&fleet, machine).is_disjoint(&before))
                })
                .await
                .unwrap();
            (sessions, begin.elapsed())
        });
        removed.unwrap().ok().unwrap();
        eprintln!(
            "removed (leader: {leads}): sessions ended after {:?}, peer connections after {:?}",
            ended.0, ended.1
        );
        assert!(ended.0 < AT_ONCE, "sessions ended after {:?}\n{}", ended.0, fleet.log(machine));
        assert!(ended.1 < AT_ONCE, "peer connections ended after {:?}\n{}", ended.1, fleet.log(machine));
        assert!(!fleet.files().join("member").join(&path[1..]).exists(), "nothing half done is visible");
        assert!(Sftp::login(fleet.sftp_port(machine), "member").await.unwrap().is_err(), "it admits nobody");
        let (status, why) = fleet.readiness(machine).await.unwrap();
        assert_eq!(status, 503, "{why}");
        assert!(matches!(elsewhere.upload(&path, 100_000, 32_768).await, Upload::Stored), "the others go on");
        fleet.until_voters(1, 2).await.unwrap();
        // What it says of itself, and after a start too.
        let told = format!("node {id} was removed from the cluster");
        fleet.until("it knows why", async || Ok(fleet.log_contains(machine, &told))).await.unwrap();
        fleet.kill(machine).await.unwrap();
        fleet.start(machine).unwrap();
        fleet
            .until("/readyz says it", async || {
                let (status, why) = fleet.readiness(machine).await?;
                Ok(status == 503 && why.contains("was removed from the cluster"))
            })
            .await
            .unwrap();
        fleet.kill(machine).await.unwrap();
        std::fs::remove_dir_all(fleet.data(machine)).unwrap();
        let token = fleet.token(2).await.unwrap();
        fleet.join(machine, &token).await.unwrap().ok().unwrap();
        fleet.serve(machine).await.unwrap();
        fleet.until_voters(1, 3).await.unwrap();
        fleet.until_ready(machine).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_become_one_by_recovery_and_nothing_is_lost() {
    let mut fleet = Fleet::cluster(3).await.unwrap();
    fleet.user(1, "member").await.unwrap();
    fleet.admin(1, &["cluster", "remove", "3"]).await.unwrap().ok().unwrap();
    fleet.until_voters(1, 2).await.unwrap();
    fleet.kill(3).await.unwrap();
    let session = login(&fleet, 2).await;
    assert!(matches!(session.upload("/kept.bin", 100_000, 32_768).await, Upload::Stored));
    session.leave().await;
    // With two voters each is needed: a removal would leave none that can go on.
    let refused = fleet.admin(1, &["cluster", "remove", "2"]).await.unwrap();
    assert_eq!(refused.code, 4);
    let said = refused.refused().unwrap();
    assert!(said.contains("no majority") && said.contains("cluster recover"), "{said}");
    assert_eq!(fleet.with_role(1, &["leader", "voter"]).await.unwrap(), [1, 2], "nothing has happened");

    for machine in [2, 1] {
        fleet.signal(machine, rustix::process::Signal::TERM).unwrap();
        assert_eq!(fleet.ended(machine).await.unwrap(), Some(0), "{}", fleet.log(machine));
    }
    let config = fleet.config(1);
    let recover = ["cluster", "recover", "--config", config.to_str().unwrap(), "--others-are-lost"];
    fleet.run(&recover).await.unwrap().ok().unwrap();
    std::fs::remove_dir_all(fleet.data(2)).unwrap();
    fleet.serve(1).await.unwrap();
    fleet.until_ready(1).await.unwrap();
    assert_eq!(fleet.with_role(1, &["leader", "voter", "learner"]).await.unwrap(), [1]);
    assert_eq!(login(&fleet, 1).await.download("/kept.bin").await.unwrap().len(), 100_000);
}
