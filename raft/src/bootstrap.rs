//! Makes a new cluster: the first membership, its identity, a record for each node. Repeating it changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use flotilla_model::command::{InitCluster, PutNode};
use flotilla_model::{Command, CommandId, Refusal};
use openraft::errors::{InitializeError, RaftError};
use openraft::impls::BasicNode;
use tokio::time::sleep;

use crate::config::Config;
use crate::propose::Proposer;
use crate::types::Raft;

const WITHIN: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(200);

/// Sets the first membership, unless the log holds one.
pub async fn initialise(raft: &Raft, config: &Config) -> Result<(), String> {
    let members: BTreeMap<u64, BasicNode> =
        config.peers.iter().map(|(node, address)| (node.0, BasicNode::new(&address.peer))).collect();
    match raft.initialize(members).await {
        Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Proposes what the state lacks, until it is there.
pub async fn record(proposer: Proposer, config: Config) {
    loop {
        match record_once(&proposer, &config).await {
            Ok(()) => return,
            Err(why) => {
                tracing::debug!(why, "the cluster's first records are not there yet");
                sleep(AGAIN).await;
            }
        }
    }
}

async fn record_once(proposer: &Proposer, config: &Config) -> Result<(), String> {
    if proposer.shared.state().settings().is_none() {
        let command = Command::InitCluster(InitCluster { cluster_id: config.cluster_id.clone() });
        match submit(proposer, command).await? {
            Ok(()) | Err(Refusal::AlreadyInitialised { .. }) => {}
            Err(refusal) => return Err(refusal.to_string()),
        }
    }
    for (node, address) in &config.peers {
        if proposer.shared.state().node(*node).is_some() {
            continue;
        }
        let put = PutNode {
            node: *node,
            name: address.name.clone(),
            public_key: address.public_key.clone(),
            peer_address: address.peer.clone(),
            admin_address: address.admin.clone(),
            sftp_address: address.sftp.clone(),
        };
        submit(proposer, Command::PutNode(put)).await?.map_err(|refusal| refusal.to_string())?;
    }
    Ok(())
}

async fn submit(proposer: &Proposer, command: Command) -> Result<Result<(), Refusal>, String> {
    let id = CommandId::Request(flotilla_cluster::new_request_id());
    let submitted = proposer.submit(id, "bootstrap", command, WITHIN).await.map_err(|error| error.to_string())?;
    Ok(submitted.reply.map(|_| ()))
}
