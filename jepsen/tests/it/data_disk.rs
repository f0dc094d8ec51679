//! A full disk under a node's data: it ends with the reason, and nothing that was acknowledged is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use flotilla_jepsen::lab::Lab;
use futures::future::join_all;

const SOON: Duration = Duration::from_secs(30);
const AT_ONCE: usize = 16;
/// Some 50 MiB of users: more than a log has room for.
const MOST_BATCHES: usize = 400;

/// Once on a follower, once on the leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_room_for_its_log_ends_with_the_reason_and_the_cluster_goes_on() {
    let plan = Lab::plan(3).mount("node1/data", 32).mount("node2/data", 32).mount("node3/data", 32);
    let mut lab = plan.start().await.unwrap();
    for round in 0..2 {
        // The round before may have moved it.
        let leader = lab.leader().await.unwrap();
        let victim = if round == 0 { leader % 3 + 1 } else { leader };
        let other = (1..=3).find(|node| *node != victim).unwrap();
        let filling = lab.mounted(&format!("node{victim}/data")).unwrap().fill().unwrap();
        // What is acknowledged while the disk fills up must be there afterwards.
        let mut acknowledged = Vec::new();
        let process = std::path::PathBuf::from(format!("/proc/{}", lab.pid(victim)));
        for batch in 0..MOST_BATCHES {
            // A log has room laid out in advance, which must be used up first.
            let names: Vec<_> = (0..AT_ONCE).map(|n| format!("r{round}n{}", batch * AT_ONCE + n)).collect();
            let made = join_all(names.iter().map(|name| make(&lab, other, name))).await;
            let taken = names.into_iter().zip(made).filter(|(_, status)| matches!(status, Ok(201)));
            acknowledged.extend(taken.map(|(name, _)| name));
            if !process.exists() {
                break;
            }
        }
        lab.gone(victim).await.unwrap();
        assert!(!acknowledged.is_empty(), "something was acknowledged while the disk filled up");
        let log = lab.log(victim);
        // The engine's own tasks may say that they end, too.
        let last: Vec<&str> = log.lines().rev().take(5).collect();
        let says_why = |line: &&str| line.contains("consensus has stopped") && line.contains("No space left");
        assert!(last.iter().any(says_why), "{last:?}");
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
        let there = users(&lab, victim).await;
        for name in &acknowledged {
            assert!(there.contains(name), "{name} was acknowledged and is not on node {victim}");
        }
    }
}

/// All users, as the node itself has them.
async fn users(lab: &Lab, node: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    loop {
        let page = format!("/api/v2/users?limit=500&offset={}&consistency=stale", found.len());
        let (status, list) = lab.rest(node).unwrap().get(&page).await.unwrap();
        assert_eq!(status, 200, "{list}");
        let names = list.as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap().to_owned());
        let before = found.len();
        found.extend(names);
        if found.len() == before {
            return found;
        }
    }
}

/// Makes a large user through a node; the answer's status.
async fn make(lab: &Lab, node: usize, name: &str) -> anyhow::Result<u16> {
    let text = "x".repeat(4_000);
    let body = serde_json::json!({"username": name, "status": 1, "permissions": {"/": ["*"]},
        "description": text, "additional_info": text});
    Ok(lab.rest(node)?.post("/api/v2/users", &body).await?.0)
}
