//! `flotilla.admin.v1.Cluster`.

use flotilla_proto::admin::v1;
use flotilla_proto::admin::v1::cluster_server::Cluster;
use tonic::{Request, Response, Status};

use super::Admin;
use super::reply::{answer, caller};
use crate::service::cluster::NodeView;

#[tonic::async_trait]
impl Cluster for Admin {
    async fn get_status(&self, request: Request<v1::GetStatusRequest>) -> Result<Response<v1::ClusterStatus>, Status> {
        let view = self.service.cluster_view(&caller(&request)?)?;
        let message = v1::ClusterStatus {
            cluster_id: view.cluster_id,
            node: view.node.0,
            leader: view.leader.map_or(0, |node| node.0),
            term: view.term,
            log_index: view.log_index,
            applied_index: view.applied_index,
            nodes: view.nodes.into_iter().map(node).collect(),
            notes: view.notes,
        };
        Ok(answer(message.applied_index, message))
    }

    async fn ping(&self, _request: Request<v1::PingRequest>) -> Result<Response<v1::PingResponse>, Status> {
        let (node, log_index) = self.service.ping().await?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(answer(log_index, v1::PingResponse { node: node.0, version, log_index }))
    }
}

fn node(node: NodeView) -> v1::NodeStatus {
    v1::NodeStatus {
        id: node.id.0,
        name: node.name,
        role: node.role.to_owned(),
        state: node.state.to_owned(),
        address: node.peer_address,
        applied_index: node.applied_index,
        admin_address: node.admin_address,
        sftp_address: node.sftp_address,
        version: node.version,
    }
}
