//! `/cluster`, `/status`, `/version`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::Failed;
use super::reply::Answer;
use crate::service::cluster::NodeView;
use crate::service::{Caller, Service};

/// What the answering node knows of the cluster.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Cluster")]
pub(super) struct ClusterShown {
    cluster_id: String,
    /// Null: none is known.
    leader: Option<u64>,
    term: u64,
    log_index: u64,
    applied_index: u64,
    /// Hexadecimal; equal on all nodes at one index.
    state_hash: String,
    nodes: Vec<NodeShown>,
}

/// A node.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Node")]
struct NodeShown {
    id: u64,
    name: String,
    #[schemars(extend("enum" = ["leader", "voter", "learner", "none"]))]
    role: &'static str,
    /// Whether its lease is current.
    #[schemars(extend("enum" = ["alive", "down", "leaving"]))]
    state: &'static str,
    /// For peers.
    address: String,
    applied_index: u64,
}

pub(super) async fn cluster(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
) -> Result<Answer<ClusterShown>, Failed> {
    let view = service.cluster_view(&caller)?;
    let body = ClusterShown {
        cluster_id: view.cluster_id,
        leader: view.leader.map(|node| node.0),
        term: view.term,
        log_index: view.log_index,
        applied_index: view.applied_index,
        state_hash: view.state_hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        nodes: view.nodes.iter().map(node).collect(),
    };
    Ok(Answer::at(view.applied_index, body))
}

fn node(node: &NodeView) -> NodeShown {
    NodeShown {
        id: node.id.0,
        name: node.name.clone(),
        role: node.role,
        state: node.state,
        address: node.peer_address.clone(),
        applied_index: node.applied_index,
    }
}

/// SFTPGo's status of services, and how far the answering node is.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Status")]
pub(super) struct StatusShown {
    ssh: Active,
    ftp: Active,
    webdav: Active,
    defender: Active,
    mfa: Active,
    allow_list: Active,
    rate_limiters: Active,
    data_provider: Provider,
    node: OwnNode,
}

#[derive(Serialize, JsonSchema)]
struct Active {
    is_active: bool,
}

#[derive(Serialize, JsonSchema)]
struct Provider {
    /// A leader is known.
    is_active: bool,
    driver: &'static str,
    error: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct OwnNode {
    id: u64,
    caught_up: bool,
    /// Number of the last event that it knows.
    last_event: u64,
}

pub(super) async fn status(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
) -> Result<Answer<StatusShown>, Failed> {
    let view = service.cluster_view(&caller)?;
    let off = || Active { is_active: false };
    let body = StatusShown {
        ssh: Active { is_active: true },
        ftp: off(),
        webdav: off(),
        defender: off(),
        mfa: off(),
        allow_list: off(),
        rate_limiters: off(),
        data_provider: Provider { is_active: view.leader.is_some(), driver: "raft", error: "" },
        node: OwnNode { id: view.node.0, caught_up: view.caught_up, last_event: view.last_event },
    };
    Ok(Answer::at(view.applied_index, body))
}

/// The version of the answering node.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Version")]
pub(super) struct VersionShown {
    version: &'static str,
    build_date: &'static str,
    commit_hash: &'static str,
    features: [&'static str; 0],
}

pub(super) async fn version(
    State(service): State<Arc<Service>>,
    Extension(_caller): Extension<Caller>,
) -> Result<Answer<VersionShown>, Failed> {
    let index = service.state(true).await?.applied_index();
    let body = VersionShown { version: env!("CARGO_PKG_VERSION"), build_date: "", commit_hash: "", features: [] };
    Ok(Answer::at(index, body))
}
