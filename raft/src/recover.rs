//! Makes a cluster of one out of a survivor whose quorum is gone for good. Everything its log holds is kept, what was
//! only on the lost nodes is lost. Nothing is written while enough of the others answer to make a quorum. Who answers "no" is
//! there too: a node that was removed or set back must not become a second cluster beside the first.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use flotilla_model::command::RemoveNode;
use flotilla_model::{Command, CommandId, Entry, Envelope, NodeId, WallTime};
use openraft::impls::BasicNode;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine};
use openraft::vote::RaftLeaderId;
use tokio::sync::watch;

use crate::config::Config;
use crate::folder::{self, Folder};
use crate::machine::Machine;
use crate::net::{Introduction, PeerMemory, Tls, reach};
use crate::node::StartError;
use crate::roster::{Roster, Rosters};
use crate::shared::Shared;
use crate::store::LogStore;
use crate::types::{LogId, Membership, Vote};

/// Why a survivor was not made a cluster of its own. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("data folder: {0}")]
    Store(#[from] io::Error),
    #[error(
        "{}: with this node they are a quorum of {voters} voters. \
         Start this node (`flotilla serve`) instead, or do what a refusal says; nothing was changed",
        answering.join("; ")
    )]
    QuorumAnswers {
        /// A phrase for each node whose address takes connections: that it answers, and why not to this node.
        answering: Vec<String>,
        voters: usize,
    },
    #[error("this node is the only member already: start it (`flotilla serve`); nothing was changed")]
    Alone,
    #[error("this node's log names no members: it never was part of a cluster; nothing was changed")]
    NoMembers,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Index of the last entry that this node has.
    pub index: u64,
    /// Nodes that are no members any more.
    pub dropped: Vec<NodeId>,
}

/// Runs on a node whose process has ended; the folder's lock sees to that.
pub async fn recover(config: &Config) -> Result<Recovered, RecoverError> {
    let folder = Arc::new(Folder::open(&config.data_dir, &config.cluster_id, config.node).map_err(StartError::from)?);
    let rosters = Rosters::open(&config.cluster_id, &folder.roster_file(), config.first_roster());
    let rosters = rosters.map_err(StartError::from)?;
    let mut log = LogStore::open_chosen(config.store, &folder.log_dir(), Arc::clone(&folder))?;
    let shared = Shared::new(config.node, folder.start().counter, Arc::clone(&config.clock), Arc::clone(&rosters));
    let mut machine = Machine::open(&folder.snapshot_dir(), shared)?;
    machine.replay(&mut log).await?;
    let (last, membership) = machine.applied_state().await?;
    let last = last.ok_or(RecoverError::NoMembers)?;
    let others = others(&membership, config.node, &rosters.now());
    if others.is_empty() {
        return Err(RecoverError::Alone);
    }
    refuse_if_quorum(config, &folder, &log, &rosters, &membership, &others).await?;
    let term = log.read_vote().await?.map_or(0, |vote| vote.leader_id.term).max(last.leader_id.term) + 1;
    let dropped: Vec<NodeId> = others.into_keys().collect();
    write(config, &folder, &mut log, machine, last.index, term, &dropped).await?;
    Ok(Recovered { index: last.index, dropped })
}

/// All members that the log or the state names, with their addresses.
fn others(membership: &Membership, own: NodeId, roster: &Roster) -> BTreeMap<NodeId, String> {
    let in_raft = membership.nodes().map(|(node, address)| (NodeId(*node), address.addr.clone()));
    let in_log = roster.members.iter().map(|(node, member)| (*node, member.address.clone()));
    in_raft.chain(in_log).filter(|(node, _)| *node != own).collect()
}

async fn refuse_if_quorum(
    config: &Config,
    folder: &Folder,
    log: &LogStore,
    rosters: &Arc<Rosters>,
    membership: &Membership,
    others: &BTreeMap<NodeId, String>,
) -> Result<(), RecoverError> {
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let tls = Tls::new(&config.cluster_id, &config.ca_pem, &config.certificate_pem, &config.key_pem);
    let tls = tls.map_err(|error| StartError::Tls(error.to_string()))?;
    let us = Introduction {
        cluster_id: config.cluster_id.clone(),
        node: config.node,
        start: folder.start().clone(),
        log: log.shown(),
        memory: Arc::new(PeerMemory::open(&folder.peers_file()).map_err(StartError::from)?),
        rosters: Arc::clone(rosters),
        voucher: config.voucher.clone(),
        refused: watch::Sender::new(None),
        told: Default::default(),
    };
    let mut answering = Vec::new();
    for (node, address) in others.iter().filter(|(node, _)| voters.contains(&node.0)) {
        match reach(&tls, &us, *node, address, config.timing.connect).await {
            Ok(Ok(())) => answering.push(format!("node {node} answers")),
            Ok(Err(why)) => answering.push(format!("node {node} is there, but does not welcome this node ({why})")),
            Err(nobody) => tracing::info!(node = node.0, %nobody, "nobody takes the connection"),
        }
    }
    let own = usize::from(voters.contains(&config.node.0));
    if answering.len() + own > voters.len() / 2 {
        return Err(RecoverError::QuorumAnswers { answering, voters: voters.len() });
    }
    Ok(())
}

/// One entry of this node's own, behind its log: the others are gone. It stands in a snapshot, and the log begins anew.
async fn write(
    config: &Config,
    folder: &Folder,
    log: &mut LogStore,
    mut machine: Machine,
    last: u64,
    term: u64,
    dropped: &[NodeId],
) -> Result<(), RecoverError> {
    let leader = openraft::impls::leader_id_std::LeaderId::new(term, config.node.0);
    let id = LogId::new(leader.to_committed(), last + 1);
    let known: Vec<NodeId> = machine.state().nodes().map(|row| row.id).filter(|node| dropped.contains(node)).collect();
    let remove = |node| Envelope {
        id: CommandId::Unnumbered,
        actor: "cluster recover".to_owned(),
        command: Command::RemoveNode(RemoveNode { node, lost: true }),
    };
    let commands = known.into_iter().map(remove).collect();
    let entry = Entry { time: machine.state().time(), wall: WallTime(0), commands };
    let own = BTreeSet::from([config.node.0]);
    let address = machine.state().node(config.node).map_or_else(String::new, |row| row.peer_address.clone());
    let nodes = BTreeMap::from([(config.node.0, BasicNode::new(address))]);
    let membership = openraft::Membership::new(vec![own], nodes).expect("the one voter is among the nodes");
    let membership = Membership::new(Some(id), membership);
    machine.put_last(id, &entry, membership);
    machine.get_snapshot_builder().await.build_snapshot().await?;
    log.save_vote(&Vote::new(term, config.node.0)).await?;
    log.purge(id).await?;
    let roster = Roster::of(machine.state());
    folder::write_value(&folder.roster_file(), &roster).map_err(StartError::from)?;
    Ok(())
}
