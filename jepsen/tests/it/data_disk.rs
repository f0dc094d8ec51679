//! A full disk under a node's data: it ends with the reason, and nothing that was acknowledged is lost.

use std::time::Duration;

use flotilla_jepsen::lab::Lab;

const SOON: Duration = Duration::from_secs(30);

/// Once on a follower, once on the leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_room_for_its_log_ends_with_the_reason_and_the_cluster_goes_on() {
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
        lab.gone(victim).await.unwrap();
        let log = lab.log(victim);
        let last = log.lines().last().expect("it says why it ends");
        assert!(last.contains("consensus has stopped") && last.contains("No space left"), "{last}");
        lab.until(SOON, "the others take changes", async || {
            Ok(matches!(make(&lab, other, &format!("r{round}-meanwhile")).await, Ok(201 | 409)))
        })
        .await
        .unwrap();
        acknowledged.push(format!("r{round}-meanwhile"));

        // Started again without room it ends again, and says so.
        let said = lab.refuses_to_start(victim).await.unwrap();
        assert!(said.contains("No space left"), "{said}");
        drop(filling);
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
