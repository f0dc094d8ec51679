//! A full disk under a node's data: it stops, says so, and nothing that was acknowledged is lost.

use std::time::Duration;

use flotilla_jepsen::client::Sftp;
use flotilla_jepsen::lab::Lab;

const SOON: Duration = Duration::from_secs(30);

/// Once on a follower, once on the leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_room_for_its_log_says_so_and_the_cluster_goes_on() {
    let plan = Lab::plan(3).mount("node1/data", 32).mount("node2/data", 32).mount("node3/data", 32);
    let mut lab = plan.start().await.unwrap();
    let leader = lab.leader().await.unwrap();
    let follower = leader % 3 + 1;
    for (round, victim) in [follower, leader].into_iter().enumerate() {
        let other = (1..=3).find(|node| *node != victim).unwrap();
        let filling = lab.mounted(&format!("node{victim}/data")).unwrap().fill().unwrap();
        // What is acknowledged while the disk fills up must be there afterwards.
        let mut acknowledged = Vec::new();
        for n in 0..20 {
            let name = format!("r{round}n{n}");
            match make(&lab, other, &name).await {
                Ok(201) => acknowledged.push(name),
                _ => break,
            }
        }
        lab.until(SOON, "the full node is not ready and says why", async || {
            let why = lab.unready(victim).await?;
            Ok(why.contains("consensus has stopped") && why.contains("No space left"))
        })
        .await
        .unwrap();
        assert!(Sftp::login(lab.sftp_port(victim), "demo").await.unwrap().is_err(), "it must not let anybody in");
        lab.until(SOON, "the others take changes", async || {
            Ok(matches!(make(&lab, other, &format!("r{round}-meanwhile")).await, Ok(201 | 409)))
        })
        .await
        .unwrap();
        acknowledged.push(format!("r{round}-meanwhile"));

        drop(filling);
        lab.stop(victim).await.unwrap();
        lab.restart(victim).await.unwrap();
        lab.until_ready(SOON).await.unwrap();
        let (status, list) = lab.rest(victim).unwrap().get("/api/v2/users?limit=500&consistency=stale").await.unwrap();
        assert_eq!(status, 200, "{list}");
        let text = list.to_string();
        for name in &acknowledged {
            assert!(text.contains(&format!("\"{name}\"")), "{name} was acknowledged and is not on node {victim}");
        }
    }
}

/// Makes a user through a node; the answer's status.
async fn make(lab: &Lab, node: usize, name: &str) -> anyhow::Result<u16> {
    let body = serde_json::json!({"username": name, "status": 1, "permissions": {"/": ["*"]}});
    Ok(lab.rest(node)?.post("/api/v2/users", &body).await?.0)
}
