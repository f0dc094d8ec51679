//! Definite and unknown: what a proposer is told when leaders change under it, and what a repeat under the same id does.

use std::time::Duration;

use flotilla_cluster::{Cluster, SubmitError};
use flotilla_model::command::PutToken;
use flotilla_model::{Command, NodeId};

use crate::cluster::{LONG, Running, Testbed, leader, put_token, request};

/// Waits until the living majority beside `alone` has a leader of its own.
async fn other_leader(nodes: &[Running], alone: usize) -> usize {
    let others = || nodes.iter().enumerate().filter(|(position, _)| *position != alone);
    for _ in 0..600 {
        for (position, node) in others() {
            if node.handle.status().leader == Some(node.handle.node()) {
                return position;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the majority elects nobody");
}

async fn last_index(node: &Running) -> u64 {
    node.handle.status().last_log_index
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_a_new_leader_overwrites_is_unknown_to_its_proposer_and_a_repeat_does_it_once() {
    let (bed, links) = Testbed::linked(3, |_| {}).await;
    let nodes = bed.start_all().await;
    let old = leader(&nodes).await;
    let (handle, id) = (nodes[old].handle.clone(), request());
    let before = last_index(&nodes[old]).await;
    links.isolate(handle.node());
    links.broken().await;
    // At once, while it still takes itself for the leader: appended there and nowhere else.
    let (proposer, command) = (handle.clone(), put_token("lost"));
    let waiting = tokio::spawn(async move { proposer.submit(id, "test", command, Duration::from_secs(2)).await });
    let new = other_leader(&nodes, old).await;
    for number in 0..8 {
        let name = format!("after-{number}");
        nodes[new].handle.submit(request(), "test", put_token(&name), LONG).await.expect("an answer");
    }
    let told = waiting.await.expect("no panic").expect_err("nobody can have answered");
    assert!(last_index(&nodes[old]).await > before, "it was appended at the old leader: otherwise this shows nothing");
    assert!(matches!(told, SubmitError::Unknown(_)), "the old leader cannot know: {told}");
    links.heal();
    handle.barrier(LONG).await.expect("it follows the new leader");
    assert!(handle.state().token("lost").is_none(), "overwritten, and not done");
    let third = 3 - old - new;
    let once = nodes[third].handle.submit(id, "test", put_token("lost"), LONG).await.expect("an answer");
    let again = handle.submit(id, "test", put_token("lost"), LONG).await.expect("an answer");
    assert_eq!(once.reply, Ok(flotilla_model::Done::Revision(once.index)));
    assert_eq!(again.reply, once.reply, "the same answer through another node");
    assert_eq!(handle.state().tokens().filter(|token| token.name == "lost").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposer_that_waits_through_the_change_of_leaders_is_answered_once_the_network_heals() {
    let (bed, links) = Testbed::linked(3, |_| {}).await;
    let nodes = bed.start_all().await;
    let old = leader(&nodes).await;
    let handle = nodes[old].handle.clone();
    links.isolate(handle.node());
    let proposer = handle.clone();
    let waiting = tokio::spawn(async move { proposer.submit(request(), "test", put_token("kept"), LONG).await });
    let new = other_leader(&nodes, old).await;
    nodes[new].handle.submit(request(), "test", put_token("between"), LONG).await.expect("an answer");
    links.heal();
    let submitted = waiting.await.expect("no panic").expect("an answer in the end");
    submitted.reply.expect("the token is taken");
    assert!(handle.state().token("kept").is_some());
    for node in &nodes {
        node.handle.barrier(LONG).await.expect("a read");
        assert_eq!(node.handle.state().tokens().count(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_cut_off_for_longer_than_its_lease_refuses_definitely_and_nothing_of_it_appears() {
    let (bed, links) = Testbed::linked(3, |_| {}).await;
    let nodes = bed.start_all().await;
    let old = leader(&nodes).await;
    let handle = nodes[old].handle.clone();
    links.isolate(handle.node());
    other_leader(&nodes, old).await;
    let told =
        handle.submit(request(), "test", put_token("never"), Duration::from_secs(1)).await.expect_err("no quorum");
    let definite = told.is_definite();
    links.heal();
    handle.barrier(LONG).await.expect("it follows the new leader");
    nodes[(old + 1) % 3].handle.submit(request(), "test", put_token("behind"), LONG).await.expect("an answer");
    handle.barrier(LONG).await.expect("a read");
    assert!(!definite || handle.state().token("never").is_none(), "said to be definite, and done all the same");
    assert!(definite, "a leader that has heard of no quorum for so long appends nothing: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fits_into_no_entry_is_refused_with_its_size() {
    let bed = Testbed::new(1);
    let nodes = bed.start_all().await;
    leader(&nodes).await;
    let permissions = vec!["x".repeat(1 << 20)];
    let token = PutToken { name: "t".into(), hash: [0; 32], permissions, expires_at: 0, replace: false };
    let answer = nodes[0].handle.submit(request(), "test", Command::PutToken(token), LONG).await.expect("an answer");
    let refusal = answer.reply.expect_err("it is too large").to_string();
    assert!(refusal.contains("at most 1048576 fit"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_on_the_way_is_unknown_and_a_repeat_through_another_node_tells_it() {
    let (bed, links) = Testbed::linked(3, |_| {}).await;
    let nodes = bed.start_all().await;
    let first = leader(&nodes).await;
    let (asking, other) = ((first + 1) % 3, (first + 2) % 3);
    let (handle, id) = (nodes[asking].handle.clone(), request());
    let (from, to): (NodeId, NodeId) = (handle.node(), nodes[first].handle.node());
    // Until one is caught on the way: applied at the leader, while its proposer has lost the connection.
    let told = 'caught: {
        for round in 0..200 {
            let id = if round == 0 { id } else { request() };
            let (proposer, name) = (handle.clone(), format!("token-{round}"));
            let asked = tokio::spawn({
                let command = put_token(&name);
                async move { proposer.submit(id, "test", command, Duration::from_millis(300)).await }
            });
            tokio::time::sleep(Duration::from_micros(200 * (round % 20))).await;
            links.cut(from, to);
            let told = asked.await.expect("no panic");
            links.heal();
            nodes[other].handle.barrier(LONG).await.expect("a read");
            let done = nodes[other].handle.state().token(&name).is_some();
            match told {
                Err(error) if error.is_definite() => assert!(!done, "round {round}: {error}, but it was done"),
                Err(_) if done => break 'caught (id, name),
                _ => {}
            }
        }
        panic!("in 200 rounds no answer was lost on the way");
    };
    let (id, name) = told;
    let there = nodes[other].handle.state().token(&name).expect("it is there").revision;
    let again = nodes[other].handle.submit(id, "test", put_token(&name), LONG).await.expect("an answer");
    assert_eq!(again.reply, Ok(flotilla_model::Done::Revision(there)), "the answer of the first time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_out_of_reach_is_dialled_at_a_measured_pace() {
    let (bed, links) = Testbed::linked(3, |_| {}).await;
    let nodes = bed.start_all().await;
    let first = leader(&nodes).await;
    let away = (first + 1) % 3;
    links.isolate(nodes[away].handle.node());
    let (before, began) = (links.tried(), std::time::Instant::now());
    // Appends, heartbeats, renewals and reads all want to go there meanwhile.
    let id = nodes[away].handle.node();
    let mut applied = nodes[first].handle.applied();
    let gone = applied.wait_for(|_| nodes[first].handle.state().node(id).is_some_and(|row| !row.alive));
    tokio::time::timeout(LONG, gone).await.expect("its lease expires").expect("the node runs");
    let (tried, seconds) = (links.tried() - before, began.elapsed().as_secs() + 1);
    println!("{tried} connections in {seconds} s");
    assert!(tried < 150 * seconds, "{tried} connections in {seconds} s");
}
