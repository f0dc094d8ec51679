//! Leases over the real engine: expiry, registrations that replace, cuts before extensions.

use std::sync::Arc;
use std::time::Duration;

use flotilla_cluster::{Clock, Clocks, Cluster, SystemClock};
use flotilla_model::command::RegisterNode;
use flotilla_model::{Command, CommandId, Epoch, NodeId, Refusal};
use flotilla_raft::Config;

use crate::cluster::{LONG, Recorder, Running, Testbed, leader};

/// Waits until the state at a node shows what is asked for.
async fn until(node: &Running, what: impl Fn(&flotilla_model::State) -> bool) {
    let mut applied = node.handle.applied();
    let seen = async {
        while !what(&node.handle.state()) {
            applied.changed().await.expect("the node runs");
        }
    };
    tokio::time::timeout(LONG, seen).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_of_a_dead_node_expires_also_when_it_led() {
    let bed = Testbed::new(3);
    let mut nodes = bed.start_all().await;
    for node in &nodes {
        node.handle.wait_for_lease(LONG).await.expect("a lease");
    }
    let dead = leader(&nodes).await;
    let id = nodes[dead].handle.node();
    let lease = nodes[dead].handle.lease().expect("its lease");
    nodes[dead].kill();
    assert!(lease.is_dead(), "a stopped node holds no lease");
    let witness = &nodes[(dead + 1) % 3];
    until(witness, |state| state.node(id).is_some_and(|row| !row.alive)).await;
    assert!(!witness.handle.lease().expect("its lease").is_dead(), "the others keep theirs");
    nodes[dead] = bed.start(id.0).await;
    let new = nodes[dead].handle.wait_for_lease(LONG).await.expect("a new lease");
    assert!(new.epoch() > lease.epoch());
}

fn register(node: u64, store: u128, start: u64, replaces: Epoch) -> Command {
    Command::RegisterNode(RegisterNode { store, nonce: 1, node: NodeId(node), start, replaces, version: "test".into() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_replaces_an_older_epoch_ends_nothing() {
    let bed = Testbed::new(3);
    let nodes = bed.start_all().await;
    let lease = nodes[1].handle.wait_for_lease(LONG).await.expect("a lease");
    let late = register(2, 1, 1, Epoch(0));
    let answer = nodes[0].handle.submit(CommandId::Unnumbered, "test", late, LONG).await.expect("an answer");
    let overtaken = Refusal::RegistrationOvertaken { node: NodeId(2), replaces: Epoch(0), actual: lease.epoch() };
    assert_eq!(answer.reply, Err(overtaken));
    assert!(!lease.is_dead());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_epoch_was_replaced_drops_its_lease_for_good_and_registers_again() {
    let bed = Testbed::new(3);
    let nodes = bed.start_all().await;
    let lease = nodes[1].handle.wait_for_lease(LONG).await.expect("a lease");
    let store = nodes[1].handle.state().node(NodeId(2)).expect("its row").store;
    let stolen = register(2, store, 1_000, lease.epoch());
    nodes[0].handle.submit(CommandId::Unnumbered, "test", stolen, LONG).await.expect("an answer").reply.expect("taken");
    until(&nodes[1], |state| !state.epoch_alive(NodeId(2), lease.epoch())).await;
    assert!(lease.is_dead(), "dead before the index moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cuts_of_all_nodes_up_to_an_index_are_confirmed_and_a_dead_node_is_named() {
    let bed = Testbed::new(3);
    let mut nodes = bed.start_all().await;
    let first = leader(&nodes).await;
    let recorder = Arc::new(Recorder::default());
    nodes[first].handle.set_agent(Arc::clone(&recorder) as _);
    assert_eq!(recorder.everything.lock().expect("no panic").len(), 1, "the agent looks at everything at once");
    let all = [NodeId(1), NodeId(2), NodeId(3)];
    let index = nodes[first].handle.barrier(LONG).await.expect("a read");
    let missing = nodes[first].handle.cuts_effective(&all, index, Duration::from_secs(5)).await;
    assert_eq!(missing, Vec::new());
    let dead = (first + 1) % 3;
    nodes[dead].kill();
    let missing = nodes[first].handle.cuts_effective(&all, index, Duration::from_secs(1)).await;
    assert_eq!(missing, vec![nodes[dead].handle.node()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_asked_about_its_sessions() {
    let bed = Testbed::new(2);
    let nodes = bed.start_all().await;
    leader(&nodes).await;
    let session = flotilla_model::SessionId { node: NodeId(2), epoch: Epoch(9), number: 1 };
    assert_eq!(nodes[0].handle.probe(NodeId(2), vec![session]).await, None, "it has no agent yet");
    nodes[1].handle.set_agent(Arc::new(Recorder::default()));
    let answers = nodes[0].handle.probe(NodeId(2), vec![session]).await;
    assert_eq!(answers, Some(vec![flotilla_cluster::ProbeAnswer::Alive]));
}

/// The kernel's clocks at another rate, in parts per thousand.
struct Skewed {
    began: Clocks,
    per_mille: u64,
}

impl Clock for Skewed {
    fn now(&self) -> Clocks {
        let (now, began) = (SystemClock.now(), self.began);
        let skewed = |now: u64, began: u64| began + (now - began) * self.per_mille / 1_000;
        Clocks { boot: skewed(now.boot, began.boot), raw: skewed(now.raw, began.raw) }
    }
}

/// A tenth between node 1 and the others: far more than the promises assume, and still within what the times bear.
fn skew(config: &mut Config) {
    let per_mille = if config.node == NodeId(1) { 950 } else { 1_045 };
    config.clock = Arc::new(Skewed { began: SystemClock.now(), per_mille });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_node_with_slow_clocks_has_ended_its_lease_before_fast_ones_end_it() {
    let (bed, links) = Testbed::linked(3, skew).await;
    let nodes = bed.start_all().await;
    leader(&nodes).await;
    let lease = nodes[0].handle.wait_for_lease(LONG).await.expect("a lease");
    links.isolate(NodeId(1));
    assert!(!lease.is_dead(), "it knows of nothing yet");
    until(&nodes[1], |state| state.node(NodeId(1)).is_some_and(|row| !row.alive)).await;
    assert!(lease.is_dead(), "its slots are free now: it must have ended by itself");
    links.heal();
    let new = nodes[0].handle.wait_for_lease(LONG).await.expect("a new lease");
    assert!(new.epoch() > lease.epoch());
}
