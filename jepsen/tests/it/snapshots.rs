//! Nodes that were away for so long that the log they missed is gone.

use std::time::Duration;

use flotilla_jepsen::client::{Sftp, Upload};
use flotilla_jepsen::lab::Lab;
use serde_json::json;

/// What a stop may last: less than a lease, from the last renewal, and the room to catch up.
const STOP: Duration = Duration::from_millis(3800);
/// A node that misses a few dozen entries gets a snapshot instead of them.
const PURGES: &str = "[raft]\nsnapshot_entries = 10\nkeep_entries = 1\n";
const MIB: u64 = 1 << 20;
const SOON: Duration = Duration::from_secs(20);

fn count(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_down_while_the_log_was_purged_catches_up_by_snapshot() {
    let mut lab = Lab::plan(3).configure_all(PURGES).start().await.unwrap();
    let leader = lab.leader().await.unwrap();
    let victim = leader % 3 + 1;
    lab.kill(victim).unwrap();
    lab.commits(leader, "missed", 150).await.unwrap();
    lab.user("after", 0, 0, 0).await.unwrap();
    lab.restart(victim).await.unwrap();
    lab.until_ready(Duration::from_secs(30)).await.unwrap();
    assert!(lab.log(victim).contains("snapshot_installed"), "it had the entries:\n{}", lab.log(victim));
    let names = async |node: usize| {
        let (status, list) = lab.rest(node).unwrap().get("/api/v2/users?limit=500&consistency=stale").await.unwrap();
        assert_eq!(status, 200, "{list}");
        list.as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (own, others) = (names(victim).await, names(leader).await);
    assert!(own.len() > 150 && own == others, "{} users there, {} users here", others.len(), own.len());
    let login = Sftp::login(lab.sftp_port(victim), "after").await.unwrap().expect("login");
    assert!(matches!(login.upload("/f", MIB, 32768).await, Upload::Stored));
}

/// The node is stopped for less than its lease, so that nothing but the snapshot can have ended the session and given the
/// room back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_and_a_recall_that_were_purged_take_effect_on_the_node_that_learns_them_by_snapshot() {
    let lab = Lab::plan(3).configure_all(PURGES).start().await.unwrap();
    let mut seen = Vec::new();
    for round in 0..6 {
        let outcome = away_within_the_lease(&lab, round).await;
        seen.push(outcome);
        if outcome == (1, 0) {
            return;
        }
        lab.until_ready(SOON).await.unwrap();
    }
    panic!("no round in which the node got a snapshot and kept its lease: (snapshots, leases lost) {seen:?}");
}

/// If the log is not purged in time the round shows nothing, and another one follows.
/// How many snapshots the node installed, and how many leases it lost, while it was away or came back.
async fn away_within_the_lease(lab: &Lab, round: usize) -> (usize, usize) {
    let leader = lab.leader().await.unwrap();
    let victim = leader % 3 + 1;
    let (gone, full) = (format!("gone{round}"), format!("full{round}"));
    lab.user(&gone, 0, 0, 0).await.unwrap();
    lab.user(&full, 0, 10 * MIB, 0).await.unwrap();
    let cut = Sftp::login(lab.sftp_port(victim), &gone).await.unwrap().expect("login");
    let holder = Sftp::login(lab.sftp_port(victim), &full).await.unwrap().expect("login");
    let handle = holder.create("/holds").await.unwrap();
    holder.raw.write(&handle, 0, vec![1; 32768]).await.unwrap();
    let asks = Sftp::login(lab.sftp_port(leader), &full).await.unwrap().expect("login");
    let before = lab.log(victim);

    let has = applied(lab, leader, victim).await;
    lab.freeze(victim).await.unwrap();
    let frozen = tokio::time::Instant::now();
    let upload = tokio::spawn(async move { asks.upload("/asks", 10 * MIB - 32768, 32768).await });
    let disable = async {
        let mut user = lab.rest(leader)?.get(&format!("/api/v2/users/{gone}")).await?.1;
        user["status"] = json!(0);
        lab.rest(leader)?.put(&format!("/api/v2/users/{gone}"), &user).await
    };
    let prefix = format!("purge{round}-");
    let purged = async {
        lab.commits(leader, &prefix, 60).await?;
        // The leader keeps what it is sending to the node until it gives that up.
        let rest = lab.rest(leader)?;
        while rest.metric("flotilla_raft_purged", "").await? <= has as f64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    let (disabled, purged) = tokio::join!(disable, tokio::time::timeout_at(frozen + STOP, purged));
    if let Ok(failed) = purged {
        failed.unwrap();
    }
    let (status, answer) = disabled.unwrap();
    assert!(status == 200 && answer["unconfirmed_nodes"] == json!([victim]), "{status} {answer}");
    assert!(!upload.is_finished(), "there was room without asking the node that is away");
    lab.thaw(victim).unwrap();

    assert!(cut.valve.reset(SOON).await.unwrap(), "the session of a disabled user goes on\n{}", lab.log_tails());
    let uploaded = tokio::time::timeout(SOON, upload).await.expect("the wait for room is bounded").unwrap();
    let after = lab.log(victim).split_off(before.len());
    let outcome = (count(&after, "snapshot_installed"), count(&after, "lease_lost"));
    if outcome == (1, 0) {
        assert!(after.contains("the user was disabled"), "the session ended for another reason:\n{after}");
        assert!(matches!(uploaded, Upload::Stored), "{uploaded:?}\n{}", lab.log_tails());
        holder.raw.write(&handle, 32768, vec![1; 32768]).await.expect_err("its room was given away");
    }
    outcome
}

/// The last index that a node was known to have applied.
async fn applied(lab: &Lab, asked: usize, node: usize) -> u64 {
    let (_, cluster) = lab.rest(asked).unwrap().get("/api/v2/cluster").await.unwrap();
    let nodes = cluster["nodes"].as_array().expect("nodes");
    let row = nodes.iter().find(|row| row["id"] == json!(node)).expect("the node is listed");
    row["applied_index"].as_u64().expect("an index")
}
