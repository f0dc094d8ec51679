//! Elections, proposals from every node, reads, leases: three nodes over real TLS.

use flotilla_cluster::Cluster;

use crate::cluster::{LONG, Testbed, leader, put_token, request};

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_elect_a_leader_and_every_node_proposes() {
    let bed = Testbed::new(3);
    let nodes = bed.start_all().await;
    leader(&nodes).await;
    for node in &nodes {
        let name = format!("token-{}", node.handle.node());
        let submitted = node.handle.submit(request(), "test", put_token(&name), LONG).await.expect("an answer");
        submitted.reply.expect("the token is taken");
        assert!(node.handle.state().token(&name).is_some(), "applied at the node that asked");
    }
    for node in &nodes {
        node.handle.barrier(LONG).await.expect("a read");
        assert_eq!(node.handle.state().tokens().count(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_gets_a_lease_and_renews_it() {
    let bed = Testbed::new(3);
    let nodes = bed.start_all().await;
    for node in &nodes {
        let lease = node.handle.wait_for_lease(LONG).await.expect("a lease");
        let mut applied = node.handle.applied();
        let renewed = || node.handle.state().node(node.handle.node()).is_some_and(|row| row.renewal >= 2);
        tokio::time::timeout(LONG, async {
            while !renewed() {
                applied.changed().await.expect("the node runs");
            }
        })
        .await
        .expect("two renewals");
        assert!(!lease.is_dead());
        assert_eq!(node.handle.lease().map(|lease| lease.epoch()), Some(lease.epoch()));
    }
}
