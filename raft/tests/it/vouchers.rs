//! A node that is let in on a member's word.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flotilla_cluster::Cluster;
use flotilla_model::command::RemoveNode;
use flotilla_model::{Command, NodeId};
use flotilla_raft::roster::{Voucher, vouched};
use flotilla_raft::{Desk, Handle, JoinAnswer, JoinRequest, RaftNode, pki};

use crate::cluster::{LONG, Testbed, leader, request};

const STRANGER: NodeId = NodeId(99);
const ASKED: NodeId = NodeId(1);

/// Has a key that it gives to whoever may ask.
struct KeyDesk;

#[async_trait]
impl Desk for KeyDesk {
    async fn join(&self, _request: JoinRequest) -> JoinAnswer {
        JoinAnswer::Refused { why: "not here".to_owned(), again: false }
    }

    fn keep_key(&self, _key: &str) -> Result<(), String> {
        Ok(())
    }

    fn keys(&self) -> String {
        "the cluster's key".to_owned()
    }
}

/// Whether the first node answers a call of the stranger.
async fn call(stranger: &Handle, within: Duration) -> bool {
    stranger.cuts_effective(&[ASKED], 0, within).await.is_empty()
}

/// Starts node 99, for which node 3 has given its word, and nobody else.
async fn start_stranger(bed: &Testbed) -> (RaftNode, Handle) {
    let identity = pki::make_node(&bed.ca, "test", STRANGER.0).expect("a certificate");
    let public_key = pki::public_key(&identity.key_pem).expect("its key");
    let word = vouched("test", STRANGER, &public_key);
    let voucher_key = &bed.identities[&NodeId(3)].key_pem;
    let signature = pki::sign(voucher_key, &word).expect("a signature");
    let mut config = bed.config(3);
    config.node = STRANGER;
    config.data_dir = bed.dir.path().join("stranger");
    config.listen = "127.0.0.1:0".parse().expect("an address");
    config.certificate_pem = identity.certificate_pem;
    config.key_pem = identity.key_pem;
    config.voucher = Some(Voucher { by: NodeId(3), signature });
    RaftNode::start(config).await.expect("node 99 starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_vouched_for_is_out_when_the_voucher_is_removed_and_gets_no_keys_before() {
    let bed = Testbed::new(3);
    let nodes = bed.start_all().await;
    leader(&nodes).await;
    let members = &nodes[0].handle;
    members.transfer(Some(ASKED), LONG).await.expect("who is removed does not lead");
    members.barrier(LONG).await.expect("a read");
    nodes.iter().for_each(|node| node.handle.set_desk(Arc::new(KeyDesk)));
    let (_stranger, stranger) = start_stranger(&bed).await;
    assert!(call(&stranger, LONG).await, "a member vouches for it");
    assert_eq!(stranger.fetch_keys(LONG).await, Vec::<String>::new(), "it is no member");
    assert_eq!(stranger.offer_key("its own key", LONG).await, [], "and its keys are not taken");
    assert_eq!(members.fetch_keys(LONG).await.len(), 2, "members get them");
    assert!(call(&stranger, LONG).await, "its connection stands");
    let remove = Command::RemoveNode(RemoveNode { node: NodeId(3), lost: true });
    let removed = members.submit(request(), "test", remove, LONG).await.expect("an answer");
    removed.reply.expect("node 3 is removed");
    members.barrier(LONG).await.expect("the first node has applied it");
    assert!(!call(&stranger, Duration::from_secs(2)).await, "the word counts no longer");
}
