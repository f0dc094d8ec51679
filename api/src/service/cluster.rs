//! The cluster: who is in it, who leads, how far each is.

use flotilla_model::{LogIndex, NodeId, State};

use super::{Caller, Service};
use crate::access::Verb;
use crate::error::ApiError;

/// What this node knows of the cluster.
#[derive(Clone, Debug)]
pub struct ClusterView {
    pub cluster_id: String,
    /// The node that answers.
    pub node: NodeId,
    pub leader: Option<NodeId>,
    pub term: u64,
    pub log_index: LogIndex,
    /// Of the state that this view was taken from.
    pub applied_index: LogIndex,
    /// The state's rolling hash at `applied_index`: equal on all nodes.
    pub state_hash: [u8; 32],
    pub caught_up: bool,
    pub last_event: u64,
    pub nodes: Vec<NodeView>,
    /// What the operator should know.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct NodeView {
    pub id: NodeId,
    pub name: String,
    /// `leader`, `voter`, `learner` or `none`.
    pub role: &'static str,
    /// `alive` or `down`: whether its lease is current; `leaving`: removed, and its lease may still run.
    pub state: &'static str,
    pub peer_address: String,
    pub admin_address: String,
    pub sftp_address: String,
    /// Exact for the node that answers; for others the index of their last renewal, which they had applied before.
    pub applied_index: LogIndex,
    pub version: String,
}

impl Service {
    /// Answers without a quorum too: an operator needs it most then.
    pub fn cluster_view(&self, caller: &Caller) -> Result<ClusterView, ApiError> {
        caller.may(Verb::GetStatus)?;
        let status = self.cluster.status();
        let state = self.cluster.state();
        Ok(ClusterView {
            cluster_id: state.settings().map(|settings| settings.cluster_id.clone()).unwrap_or_default(),
            node: status.node,
            leader: status.leader,
            term: status.term,
            log_index: status.last_log_index,
            applied_index: state.applied_index(),
            state_hash: state.hash(),
            caught_up: status.caught_up,
            last_event: state.last_event_number(),
            nodes: nodes(&status, &state),
            notes: notes(&status),
        })
    }

    /// Which node this is and an index behind a read barrier: answers only while there is a quorum.
    pub async fn ping(&self) -> Result<(NodeId, LogIndex), ApiError> {
        let state = self.state(false).await?;
        Ok((self.cluster.node(), state.applied_index()))
    }
}

/// A leader that no quorum has acknowledged for this long may have been replaced.
const STALE_MS: u64 = 1_000;

fn notes(status: &flotilla_cluster::Status) -> Vec<String> {
    let mut notes = Vec::new();
    if status.leader.is_none() {
        notes.push(format!(
            "no leader is known: fewer than {} of {} voters reach each other; what is shown may be old",
            status.voters.len() / 2 + 1,
            status.voters.len()
        ));
    }
    if let Some(age) = status.quorum_ack_age_ms.filter(|age| status.leader == Some(status.node) && *age > STALE_MS) {
        notes.push(format!("the leader has had no answer of a quorum for {age} ms; what is shown may be old"));
    }
    notes.extend(flotilla_cluster::voter_notes(status.voters.len(), status.learners.len()));
    notes
}

fn nodes(status: &flotilla_cluster::Status, state: &State) -> Vec<NodeView> {
    let role = |id: NodeId| {
        if status.leader == Some(id) {
            "leader"
        } else if status.voters.contains(&id) {
            "voter"
        } else if status.learners.contains(&id) {
            "learner"
        } else {
            "none"
        }
    };
    let view = |node: &std::sync::Arc<flotilla_model::Node>| NodeView {
        id: node.id,
        name: node.name.clone(),
        role: role(node.id),
        state: match (node.leaving, node.alive) {
            (true, _) => "leaving",
            (false, true) => "alive",
            (false, false) => "down",
        },
        peer_address: node.peer_address.clone(),
        admin_address: node.admin_address.clone(),
        sftp_address: node.sftp_address.clone(),
        applied_index: if node.id == status.node { status.applied_index } else { node.renewed_index },
        version: node.version.clone(),
    };
    state.nodes().map(view).collect()
}
