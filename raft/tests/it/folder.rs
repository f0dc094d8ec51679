//! Data folders that must be refused: in use, another cluster's, a newer program's, set back.

use std::path::Path;

use flotilla_cluster::Cluster;
use flotilla_raft::{FolderError, RaftNode, StartError};

use crate::cluster::{LONG, Testbed, leader, put_token, request};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_folder_is_refused() {
    let bed = Testbed::new(1);
    let _running = bed.start(1).await;
    let mut second = bed.config(1);
    second.listen = "127.0.0.1:0".parse().expect("an address");
    let refused = RaftNode::start(second).await.err().expect("it is refused");
    assert!(matches!(refused, StartError::Folder(FolderError::Locked(_))), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_of_another_cluster_or_node_is_refused() {
    let bed = Testbed::new(1);
    let mut running = bed.start(1).await;
    running.kill();
    let mut other = bed.config(1);
    other.listen = "127.0.0.1:0".parse().expect("an address");
    other.cluster_id = "another".to_owned();
    let refused = refusal_of(other).await;
    assert!(refused.contains("belongs to node 1 of cluster test, not to node 1 of cluster another"), "{refused}");
}

/// The refusal, once the folder's lock is free.
async fn refusal_of(config: flotilla_raft::Config) -> String {
    loop {
        match RaftNode::start(config.clone()).await {
            Err(StartError::Folder(FolderError::Locked(_))) => tokio::task::yield_now().await,
            Err(error) => return error.to_string(),
            Ok(_) => panic!("it starts"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_a_newer_program_is_refused() {
    let bed = Testbed::new(1);
    let mut running = bed.start(1).await;
    running.kill();
    let version = bed.dir.path().join("node1/VERSION");
    std::fs::write(version, [crc32fast::hash(&[9]).to_le_bytes().as_slice(), &[9]].concat()).expect("the file");
    let mut config = bed.config(1);
    config.listen = "127.0.0.1:0".parse().expect("an address");
    let refused = refusal_of(config).await;
    assert!(refused.contains("version 9, newer than this program knows"), "{refused}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the copy's folder");
    for found in std::fs::read_dir(from).expect("the folder") {
        let found = found.expect("an entry of the folder");
        let target = to.join(found.file_name());
        if found.file_type().expect("its type").is_dir() {
            copy(&found.path(), &target);
        } else {
            match std::fs::copy(found.path(), target) {
                // The log's last thread may still be removing what it needs no more.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => _ = copied.expect("copying"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_set_back_is_refused_by_its_peers() {
    let bed = Testbed::new(3);
    let mut nodes = bed.start_all().await;
    leader(&nodes).await;
    for node in &nodes {
        node.handle.barrier(LONG).await.expect("all take part");
    }
    nodes[2].kill();
    bed.start(3).await.kill();
    copy(&bed.dir.path().join("node3"), &bed.dir.path().join("old"));
    nodes[2] = bed.start(3).await;
    nodes[2].handle.submit(request(), "test", put_token("later"), LONG).await.expect("it takes part again");
    nodes[2].kill();
    // Waits until the writer has closed the folder.
    bed.start(3).await.kill();
    nodes[2] = bed.start(3).await;
    nodes[2].handle.barrier(LONG).await.expect("and again");
    nodes[2].kill();
    let folder = bed.dir.path().join("node3");
    std::fs::rename(&folder, bed.dir.path().join("kept")).expect("the newer store put aside");
    std::fs::rename(bed.dir.path().join("old"), &folder).expect("the older store put back");
    let set_back = bed.start(3).await;
    let mut refusal = set_back.handle.peer_refusal();
    let why = tokio::time::timeout(LONG, refusal.wait_for(Option::is_some)).await.expect("in time");
    let why = why.expect("the node runs").clone().expect("a reason");
    assert!(why.contains("it was set back"), "{why}");
    assert!(set_back.handle.state().token("later").is_none(), "it learned nothing");
    nodes[0].handle.submit(request(), "test", put_token("after"), LONG).await.expect("the others go on");
}
