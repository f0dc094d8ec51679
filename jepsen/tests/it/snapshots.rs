//! Nodes that were away for so long that the log they missed is gone.

use std::time::Duration;

use flotilla_jepsen::client::{Sftp, Upload};
use flotilla_jepsen::lab::Lab;

/// A node that misses a few dozen entries gets a snapshot instead of them.
const PURGES: &str = "[raft]\nsnapshot_entries = 10\nkeep_entries = 1\n";
const MIB: u64 = 1 << 20;

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
