//! `flotilla cluster status` and `flotilla ping`.

use clap::Subcommand;
use flotilla_proto::admin::v1;
use serde_json::{Value, json};

use super::connect::Client;
use super::failure::Failure;
use super::output::{Data, Format, Output};

#[derive(Subcommand, Clone, Debug)]
pub enum ClusterCommand {
    /// Shows the nodes, who leads, and how far each is. Works without a quorum.
    Status,
}

const COLUMNS: &[&str] = &["id", "name", "role", "state", "address", "applied_index", "sftp_address", "version"];

pub(super) async fn run(client: &Client, command: ClusterCommand) -> Result<Output, Failure> {
    let ClusterCommand::Status = command;
    let status = client.cluster().get_status(v1::GetStatusRequest {}).await?.into_inner();
    let nodes: Vec<Value> = status.nodes.iter().map(node).collect();
    let whole = json!({
        "cluster_id": status.cluster_id,
        "node": status.node,
        "leader": (status.leader > 0).then_some(status.leader),
        "term": status.term,
        "log_index": status.log_index,
        "applied_index": status.applied_index,
        "nodes": nodes,
    });
    let table = Data::Many(COLUMNS, nodes).text(Format::Table);
    Ok(Output::drawn(whole, table))
}

pub(super) async fn ping(client: &Client) -> Result<Output, Failure> {
    let answer = client.cluster().ping(v1::PingRequest {}).await?.into_inner();
    Ok(Output::one(json!({"node": answer.node, "version": answer.version, "log_index": answer.log_index})))
}

fn node(node: &v1::NodeStatus) -> Value {
    json!({
        "id": node.id,
        "name": node.name,
        "role": node.role,
        "state": node.state,
        "address": node.address,
        "applied_index": node.applied_index,
        "admin_address": node.admin_address,
        "sftp_address": node.sftp_address,
        "version": node.version,
    })
}
