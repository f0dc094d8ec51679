//! `flotilla.admin.v1.Membership`.

use flotilla_model::NodeId;
use flotilla_proto::admin::v1;
use flotilla_proto::admin::v1::membership_server::Membership;
use tonic::{Request, Response, Status};

use super::Admin;
use super::reply::{answer, caller, request_id, result};
use crate::service::vault::HostKeyView;

#[tonic::async_trait]
impl Membership for Admin {
    async fn create_join_token(
        &self,
        request: Request<v1::CreateJoinTokenRequest>,
    ) -> Result<Response<v1::CreateJoinTokenResponse>, Status> {
        let caller = caller(&request)?;
        let v1::CreateJoinTokenRequest { hash, life_seconds, request_id: id } = request.into_inner();
        let made = self.service.create_join_token(&caller, request_id(&id)?, &hash, life_seconds).await?;
        let message = v1::CreateJoinTokenResponse {
            result: Some(result(&made.changed)),
            cluster_id: made.cluster_id,
            ca_fingerprint: made.ca_fingerprint.to_vec(),
            addresses: made.addresses,
        };
        Ok(answer(made.changed.index, message))
    }

    async fn transfer_leadership(
        &self,
        request: Request<v1::TransferLeadershipRequest>,
    ) -> Result<Response<v1::TransferLeadershipResponse>, Status> {
        let caller = caller(&request)?;
        let node = request.into_inner().node;
        let leader = self.service.transfer_leadership(&caller, (node > 0).then_some(NodeId(node))).await?;
        Ok(answer(self.service.applied_index(), v1::TransferLeadershipResponse { leader: leader.0 }))
    }

    async fn drain_node(
        &self,
        request: Request<v1::DrainNodeRequest>,
    ) -> Result<Response<v1::DrainNodeResponse>, Status> {
        let caller = caller(&request)?;
        self.service.drain_node(&caller, NodeId(request.into_inner().node)).await?;
        Ok(answer(self.service.applied_index(), v1::DrainNodeResponse {}))
    }

    async fn remove_node(
        &self,
        request: Request<v1::RemoveNodeRequest>,
    ) -> Result<Response<v1::RemoveNodeResponse>, Status> {
        let caller = caller(&request)?;
        let v1::RemoveNodeRequest { node, request_id: id } = request.into_inner();
        let removed = self.service.remove_node(&caller, request_id(&id)?, NodeId(node)).await?;
        let message =
            v1::RemoveNodeResponse { result: Some(result(&removed.changed)), gone: removed.gone, notes: removed.notes };
        Ok(answer(removed.changed.index, message))
    }

    async fn list_host_keys(
        &self,
        request: Request<v1::ListHostKeysRequest>,
    ) -> Result<Response<v1::ListHostKeysResponse>, Status> {
        let (log_index, keys) = self.service.list_host_keys(&caller(&request)?).await?;
        let host_keys = keys.into_iter().map(host_key).collect();
        Ok(answer(log_index, v1::ListHostKeysResponse { host_keys, log_index }))
    }

    async fn rotate_host_keys(
        &self,
        request: Request<v1::RotateHostKeysRequest>,
    ) -> Result<Response<v1::RotateHostKeysResponse>, Status> {
        let caller = caller(&request)?;
        let id = request_id(&request.into_inner().request_id)?;
        let (changed, keys) = self.service.rotate_host_keys(&caller, id).await?;
        let host_keys = keys.into_iter().map(host_key).collect();
        let message = v1::RotateHostKeysResponse { result: Some(result(&changed)), host_keys };
        Ok(answer(changed.index, message))
    }
}

fn host_key(key: HostKeyView) -> v1::HostKey {
    v1::HostKey { algorithm: key.algorithm, fingerprint: key.fingerprint, public_key: key.public_key }
}
