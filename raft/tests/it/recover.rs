//! A survivor makes itself a cluster of one only where nobody else is there.

use std::time::Duration;

use flotilla_cluster::Cluster;
use flotilla_model::command::RemoveNode;
use flotilla_model::{Command, NodeId};
use flotilla_raft::{FolderError, RecoverError, Recovered, StartError, recover};
use tokio::net::{TcpListener, TcpStream};

use crate::cluster::{LONG, Running, Testbed, leader, request};

/// The outcome, once the node that was killed has closed its folder.
async fn recover_when_closed(bed: &Testbed, node: u64) -> Result<Recovered, RecoverError> {
    loop {
        match recover(&bed.config(node)).await {
            Err(RecoverError::Start(StartError::Folder(FolderError::Locked(_)))) => tokio::task::yield_now().await,
            outcome => return outcome,
        }
    }
}

fn refusal(outcome: Result<Recovered, RecoverError>) -> String {
    let error = outcome.expect_err("it is refused");
    assert!(matches!(error, RecoverError::QuorumAnswers { .. }), "{error}");
    error.to_string()
}

/// A cluster of three whose third node knows what the others know.
async fn cluster(bed: &Testbed) -> Vec<Running> {
    let nodes = bed.start_all().await;
    leader(&nodes).await;
    nodes[2].handle.barrier(LONG).await.expect("it takes part");
    nodes
}

/// Kills a node and waits until nobody takes connections there.
async fn kill(bed: &Testbed, nodes: &mut [Running], node: u64) {
    nodes[node as usize - 1].kill();
    let address = &bed.peers[&NodeId(node)].peer;
    let closed = async { while TcpStream::connect(address).await.is_ok() {} };
    tokio::time::timeout(LONG, closed).await.expect("its sockets close");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_makes_no_second_cluster_beside_the_first() {
    let bed = Testbed::new(3);
    let mut nodes = cluster(&bed).await;
    kill(&bed, &mut nodes, 3).await;
    let remove = Command::RemoveNode(RemoveNode { node: NodeId(3), lost: true });
    let removed = nodes[0].handle.submit(request(), "test", remove, LONG).await.expect("an answer");
    removed.reply.expect("node 3 is removed");
    nodes[1].handle.barrier(LONG).await.expect("the second node knows it, too");
    let why = refusal(recover_when_closed(&bed, 3).await);
    assert!(why.contains("node 1 is there") && why.contains("node 2 is there"), "{why}");
    assert!(why.contains("node 3 was removed from the cluster") && why.contains("nothing was changed"), "{why}");
    kill(&bed, &mut nodes, 1).await;
    kill(&bed, &mut nodes, 2).await;
    let recovered = recover_when_closed(&bed, 3).await.expect("nobody is there any more");
    assert_eq!(recovered.dropped, [NodeId(1), NodeId(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_the_connection_counts_as_there() {
    let bed = Testbed::new(3);
    let mut nodes = cluster(&bed).await;
    for node in 1..=3 {
        kill(&bed, &mut nodes, node).await;
    }
    let listener = TcpListener::bind(&bed.peers[&NodeId(2)].peer).await.expect("the port of node 2");
    let closing = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    let why = refusal(recover_when_closed(&bed, 3).await);
    assert!(why.contains("node 2 is there, but does not welcome this node (") && !why.contains("node 1 is"), "{why}");
    closing.abort();
    let _ = closing.await;
    // It takes connections, and never says a word.
    let silent = TcpListener::bind(&bed.peers[&NodeId(2)].peer).await.expect("the port again");
    let why = tokio::time::timeout(Duration::from_secs(20), recover_when_closed(&bed, 3)).await.expect("in time");
    let why = refusal(why);
    assert!(why.contains("node 2 is there"), "{why}");
    drop(silent);
    recover_when_closed(&bed, 3).await.expect("nobody is there any more");
}
