//! Snapshots: a follower that was away catches up by one, a restart goes on from one.

use std::sync::Arc;

use flotilla_cluster::Cluster;
use flotilla_model::Command;
use flotilla_model::command::PutToken;
use flotilla_raft::Config;

use crate::cluster::{LONG, Recorder, Running, Testbed, leader, put_token, request};

fn often(config: &mut Config) {
    config.snapshot_entries = 50;
    config.keep_entries = 10;
}

/// Each in an entry of its own.
async fn put_tokens(node: &Running, from: usize, to: usize) {
    for number in from..to {
        let name = format!("token-{number}");
        node.handle.submit(request(), "test", put_token(&name), LONG).await.expect("an answer").reply.expect("taken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_was_away_for_long_catches_up_by_snapshot_and_reconciles_everything() {
    let bed = Testbed::tuned(3, often);
    let mut nodes = bed.start_all().await;
    let first = leader(&nodes).await;
    nodes[first].handle.wait_for_lease(LONG).await.expect("a lease");
    let away = (first + 1) % 3;
    nodes[away].handle.barrier(LONG).await.expect("it takes part");
    // The leader purges in its own time: where the log still reaches back, the follower catches up from it and is away once more.
    for round in 1..=6 {
        let left_at = nodes[away].handle.state().applied_index();
        nodes[away].kill();
        put_tokens(&nodes[first], (round - 1) * 200, round * 200).await;
        nodes[away] = bed.start(away as u64 + 1).await;
        let recorder = Arc::new(Recorder::default());
        nodes[away].handle.set_agent(Arc::clone(&recorder) as _);
        nodes[away].handle.barrier(LONG).await.expect("it takes part again");
        assert_eq!(nodes[away].handle.state().tokens().count(), round * 200);
        let everything = recorder.everything.lock().expect("no panic").clone();
        if everything.last().is_some_and(|index| *index > left_at + 100) {
            put_tokens(&nodes[away], round * 200, round * 200 + 10).await;
            return;
        }
    }
    panic!("six times away, and never caught up by snapshot");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_restarts_from_its_snapshot_and_the_log_behind_it() {
    let bed = Testbed::tuned(1, often);
    let node = bed.start(1).await;
    node.handle.wait_for_lease(LONG).await.expect("a lease");
    put_tokens(&node, 0, 120).await;
    let (index, hash) = (node.handle.state().applied_index(), node.handle.state().hash());
    node.shutdown().await;
    let found = std::fs::read_dir(bed.dir.path().join("node1/snapshots")).expect("the folder");
    let whole = found.filter(|found| found.as_ref().is_ok_and(|f| f.path().extension().is_some_and(|e| e == "fls")));
    assert_eq!(whole.count(), 1, "one snapshot is kept");
    let node = bed.start(1).await;
    node.handle.barrier(LONG).await.expect("a read");
    assert_eq!(node.handle.state().tokens().count(), 120);
    assert!(node.handle.state().applied_index() > index);
    assert_ne!(node.handle.state().hash(), [0; 32], "{hash:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_keeps_the_node_from_starting() {
    let bed = Testbed::tuned(1, often);
    let node = bed.start(1).await;
    node.handle.wait_for_lease(LONG).await.expect("a lease");
    put_tokens(&node, 0, 120).await;
    node.shutdown().await;
    let dir = bed.dir.path().join("node1/snapshots");
    for found in std::fs::read_dir(dir).expect("the folder") {
        let path = found.expect("an entry of the folder").path();
        let mut bytes = std::fs::read(&path).expect("the snapshot");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).expect("the damage");
    }
    let why = bed.start_error(1).await;
    assert!(why.contains("damaged"), "{why}");
}

/// In the leader's folder, while it runs: it does not read it again before it sends it.
fn damage(bed: &Testbed, node: usize, how: impl Fn(&mut Vec<u8>)) {
    let name = snapshots_of(bed, node).into_iter().find(|name| name.ends_with(".fls")).expect("a snapshot");
    let path = bed.dir.path().join(format!("node{}/snapshots/{name}", node + 1));
    let mut bytes = std::fs::read(&path).expect("the snapshot");
    how(&mut bytes);
    std::fs::write(path, bytes).expect("the damage");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_comes_damaged_or_in_part_is_refused_and_the_next_one_taken() {
    let bed = Testbed::tuned(3, often);
    let mut nodes = bed.start_all().await;
    let first = leader(&nodes).await;
    let away = (first + 1) % 3;
    nodes[away].handle.barrier(LONG).await.expect("it takes part");
    let cut: fn(&mut Vec<u8>) = |bytes| bytes.truncate(bytes.len() / 2);
    let nothing: fn(&mut Vec<u8>) = Vec::clear;
    let flip: fn(&mut Vec<u8>) = |bytes| *bytes.last_mut().expect("bytes") ^= 1;
    let (mut count, mut left) = (0, vec![flip, nothing, cut]);
    for _ in 0..12 {
        let Some(how) = left.last() else { return };
        nodes[away].kill();
        put_tokens(&nodes[first], count, count + 300).await;
        count += 300;
        damage(&bed, first, how);
        nodes[away] = bed.start(away as u64 + 1).await;
        // The second one that arrives shows that the first was refused. Where the log still reaches back, none is sent.
        let until = tokio::time::Instant::now() + LONG;
        let second = |name: &String| name.strip_prefix("receiving-").is_some_and(|number| number != "0");
        let mut refused = false;
        while !refused && nodes[away].handle.state().tokens().count() < count {
            refused = snapshots_of(&bed, away).iter().any(second);
            assert!(tokio::time::Instant::now() < until, "nothing is sent");
            tokio::task::yield_now().await;
        }
        if refused {
            left.pop();
        }
        put_tokens(&nodes[first], count, count + 100).await;
        count += 100;
        nodes[away].handle.barrier(LONG).await.expect("it takes part again");
        assert_eq!(nodes[away].handle.state().tokens().count(), count);
    }
    panic!("twelve times away, and {} kinds of damage never sent", left.len());
}

/// As large as a token may be, so that a snapshot takes a while.
fn large(number: usize) -> Command {
    let permissions = (0..64).map(|number| format!("{number:064}")).collect();
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Command::PutToken(PutToken { name: format!("token-{number}"), hash, permissions, expires_at: 0, replace: true })
}

/// What there is in a node's folder of snapshots.
fn snapshots_of(bed: &Testbed, node: usize) -> Vec<String> {
    let found = std::fs::read_dir(bed.dir.path().join(format!("node{}/snapshots", node + 1)));
    let names = found.into_iter().flatten().filter_map(Result::ok).map(|found| found.file_name());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_while_it_receives_or_installs_a_snapshot_starts_again_and_catches_up() {
    let bed = Testbed::tuned(3, often);
    let mut nodes = bed.start_all().await;
    let first = leader(&nodes).await;
    let away = (first + 1) % 3;
    nodes[away].handle.barrier(LONG).await.expect("it takes part");
    let (mut count, mut receiving, mut installed) = (0, 0, 0);
    for round in 0..12 {
        nodes[away].kill();
        for _ in 0..if round == 0 { 300 } else { 70 } {
            count += 1;
            let command = large(count);
            let answer = nodes[first].handle.submit(request(), "test", command, LONG).await.expect("an answer");
            answer.reply.expect("taken");
        }
        let before = snapshots_of(&bed, away);
        nodes[away] = bed.start(away as u64 + 1).await;
        // Killed as soon as the file arrives, as soon as it has its name, or when all is done.
        let is_new = |name: &&String| name.ends_with(".fls") && !before.contains(name);
        let until = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
        while tokio::time::Instant::now() < until && nodes[away].handle.state().tokens().count() < count {
            let now = snapshots_of(&bed, away);
            if round % 3 == 0 && now.iter().any(|name| name.starts_with("receiving")) {
                receiving += 1;
                break;
            }
            if round % 3 == 1 && now.iter().any(|name| is_new(&name)) {
                installed += 1;
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
    println!("killed {receiving} times while receiving, {installed} times just after the file had its name");
    assert!(receiving > 0 && installed > 0, "never caught on the way: {receiving} and {installed}");
    nodes[away].kill();
    nodes[away] = bed.start(away as u64 + 1).await;
    nodes[away].handle.barrier(LONG).await.expect("it takes part again");
    assert_eq!(nodes[away].handle.state().tokens().count(), count);
    assert_eq!(*nodes[away].handle.peer_refusal().borrow(), None);
    let (index, hash) = (nodes[away].handle.state().applied_index(), nodes[away].handle.state().hash());
    let leader = nodes[first].handle.state();
    assert!(leader.applied_index() != index || leader.hash() == hash, "one state");
    // One that the leader still sends is given up or taken; none stays.
    let left = || snapshots_of(&bed, away).into_iter().filter(|name| name.starts_with("receiving")).collect::<Vec<_>>();
    let until = tokio::time::Instant::now() + LONG;
    while !left().is_empty() && tokio::time::Instant::now() < until {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(left().is_empty(), "{:?}", left());
}
