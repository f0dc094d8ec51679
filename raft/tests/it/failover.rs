//! Leaders that die or hand over, commands that are repeated.

use std::time::Duration;

use flotilla_cluster::{Cluster, SubmitError};
use flotilla_model::Done;

use crate::cluster::{LONG, Testbed, leader, put_token, request};

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_goes_on_when_its_leader_dies() {
    let bed = Testbed::new(3);
    let mut nodes = bed.start_all().await;
    let first = leader(&nodes).await;
    nodes[first].handle.submit(request(), "test", put_token("before"), LONG).await.expect("an answer");
    nodes[first].kill();
    let second = leader(&nodes).await;
    assert_ne!(first, second);
    for node in nodes.iter().filter(|node| node.alive()) {
        let name = format!("after-{}", node.handle.node());
        node.handle.submit(request(), "test", put_token(&name), LONG).await.expect("an answer").reply.expect("taken");
    }
    nodes[first] = bed.start(first as u64 + 1).await;
    nodes[first].handle.barrier(LONG).await.expect("a read at the node that came back");
    assert_eq!(nodes[first].handle.state().tokens().count(), 3);
    for node in &nodes {
        node.handle.barrier(LONG).await.expect("a read");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_under_the_same_id_answers_the_same_and_does_nothing_twice() {
    let bed = Testbed::new(3);
    let nodes = bed.start_all().await;
    leader(&nodes).await;
    let id = request();
    let first = nodes[0].handle.submit(id, "test", put_token("once"), LONG).await.expect("an answer");
    let again = nodes[1].handle.submit(id, "test", put_token("once"), LONG).await.expect("an answer");
    assert_eq!(first.reply, Ok(Done::Revision(first.index)));
    assert_eq!(again.reply, first.reply);
    let other = nodes[2].handle.submit(request(), "test", put_token("once"), LONG).await.expect("an answer");
    assert!(other.reply.is_err(), "under another id it is another command, and the name is taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_through_any_node_sees_what_was_acknowledged_through_another() {
    let bed = Testbed::new(3);
    let nodes = bed.start_all().await;
    leader(&nodes).await;
    for round in 0..20 {
        let (writer, reader) = (&nodes[round % 3].handle, &nodes[(round + 1) % 3].handle);
        let name = format!("token-{round}");
        writer.submit(request(), "test", put_token(&name), LONG).await.expect("an answer");
        reader.barrier(LONG).await.expect("a read");
        assert!(reader.state().token(&name).is_some(), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_when_asked_and_nothing_is_lost() {
    let bed = Testbed::new(3);
    let nodes = bed.start_all().await;
    let first = leader(&nodes).await;
    nodes[first].handle.submit(request(), "test", put_token("before"), LONG).await.expect("an answer");
    assert!(nodes[first].handle.transfer_leadership(LONG).await);
    assert_ne!(leader(&nodes).await, first);
    nodes[first].handle.submit(request(), "test", put_token("after"), LONG).await.expect("an answer");
    assert_eq!(nodes[first].handle.state().tokens().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_commands_and_reads_say_so() {
    let bed = Testbed::new(3);
    let mut nodes = bed.start_all().await;
    let first = leader(&nodes).await;
    let follower = (first + 1) % 3;
    nodes[first].handle.submit(request(), "test", put_token("before"), LONG).await.expect("an answer");
    nodes[first].kill();
    nodes[(first + 2) % 3].kill();
    let alone = &nodes[follower].handle;
    let within = Duration::from_secs(3);
    let refused = alone.submit(request(), "test", put_token("alone"), within).await.expect_err("no quorum");
    assert!(matches!(refused, SubmitError::Unavailable(_) | SubmitError::Unknown(_)), "{refused}");
    let refused = alone.submit(request(), "test", put_token("alone"), within).await.expect_err("no quorum");
    assert!(refused.is_definite(), "nobody takes a connection, so nothing was appended: {refused}");
    alone.barrier(within).await.expect_err("no quorum");
    assert!(alone.state().token("alone").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_cluster_starts_again_with_what_it_had() {
    let bed = Testbed::new(3);
    let mut nodes = bed.start_all().await;
    leader(&nodes).await;
    nodes[0].handle.submit(request(), "test", put_token("kept"), LONG).await.expect("an answer");
    for node in nodes.drain(..) {
        node.shutdown().await;
    }
    let nodes = bed.start_all().await;
    for node in &nodes {
        node.handle.barrier(LONG).await.expect("a read");
        assert!(node.handle.state().token("kept").is_some());
        assert_eq!(node.handle.state().nodes().count(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commands_of_all_nodes_are_each_applied_once() {
    let bed = Testbed::new(3);
    let nodes = bed.start_all().await;
    leader(&nodes).await;
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..600 {
        let handle = nodes[number % 3].handle.clone();
        asked.spawn(async move {
            let name = format!("token-{number}");
            handle.submit(request(), "test", put_token(&name), LONG).await.map(|submitted| submitted.reply)
        });
    }
    while let Some(answer) = asked.join_next().await {
        answer.expect("no panic").expect("an answer").expect("the token is taken");
    }
    let mut hashes = Vec::new();
    for node in &nodes {
        node.handle.barrier(LONG).await.expect("a read");
        assert_eq!(node.handle.state().tokens().count(), 600);
        hashes.push((node.handle.state().applied_index(), node.handle.state().hash()));
    }
    assert!(hashes.iter().all(|(index, hash)| *index != hashes[0].0 || *hash == hashes[0].1), "one history");
}
