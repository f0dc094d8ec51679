//! `flotilla.admin.v1.Tokens`.

use flotilla_proto::admin::v1;
use flotilla_proto::admin::v1::tokens_server::Tokens;
use flotilla_proto::convert;
use tonic::{Request, Response, Status};

use super::Admin;
use super::reply::{answer, caller, request_id, result};
use crate::error::ApiError;

#[tonic::async_trait]
impl Tokens for Admin {
    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let caller = caller(&request)?;
        let v1::CreateTokenRequest { token, hash, request_id: id } = request.into_inner();
        let id = request_id(&id)?;
        let v1::Token { name, permissions, expires_at, .. } =
            token.ok_or_else(|| ApiError::field("token", "missing"))?;
        let changed = self.service.create_token(&caller, id, name, &hash, permissions, expires_at).await?;
        Ok(answer(changed.index, v1::CreateTokenResponse { result: Some(result(&changed)) }))
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        let (state, tokens) = self.service.list_tokens(&caller(&request)?).await?;
        let log_index = state.applied_index();
        let tokens = tokens.iter().map(|token| convert::token(token)).collect();
        Ok(answer(log_index, v1::ListTokensResponse { tokens, log_index }))
    }

    async fn delete_token(
        &self,
        request: Request<v1::DeleteTokenRequest>,
    ) -> Result<Response<v1::DeleteTokenResponse>, Status> {
        let caller = caller(&request)?;
        let v1::DeleteTokenRequest { name, request_id: id } = request.into_inner();
        let changed = self.service.delete_token(&caller, request_id(&id)?, name).await?;
        Ok(answer(changed.index, v1::DeleteTokenResponse { result: Some(result(&changed)) }))
    }
}
