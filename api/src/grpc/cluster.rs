//! `flotilla.admin.v1.Cluster`.

use std::sync::Arc;

use flotilla_model::NodeId;
use flotilla_proto::admin::v1;
use flotilla_proto::admin::v1::cluster_server::Cluster;
use tonic::{Request, Response, Status};

use super::Admin;
use super::progress::ProgressStream;
use super::reply::{answer, caller};
use crate::error::ApiError;
use crate::service::cluster::NodeView;
use crate::service::progress::Goal;

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

    type WatchNodeStream = ProgressStream;

    async fn watch_node(
        &self,
        request: Request<v1::WatchNodeRequest>,
    ) -> Result<Response<Self::WatchNodeStream>, Status> {
        let caller = caller(&request)?;
        let v1::WatchNodeRequest { node, goal } = request.into_inner();
        let goal = match v1::NodeGoal::try_from(goal) {
            Ok(v1::NodeGoal::Unspecified) => Goal::Ready,
            Ok(v1::NodeGoal::Gone) => Goal::Gone,
            Err(_) => return Err(ApiError::field("goal", format_args!("{goal} is unknown")).into()),
        };
        Ok(self.told(Arc::clone(&self.service).watch_node(caller, NodeId(node), goal)?))
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
