//! `flotilla.admin.v1.Tokens`.

use flotilla_model::Name;
use flotilla_proto::admin::v1;
use flotilla_proto::admin::v1::tokens_server::Tokens;
use flotilla_proto::convert;
use tonic::{Request, Response, Status};

use super::Admin;
use super::reply::{answer, caller, is_stale, page_size, request_id, result};
use crate::error::ApiError;
use crate::service::Changed;
use crate::service::api_keys::{ApiKeyInput, ApiKeyView, view};
use crate::service::record_input::cannot_change;

#[tonic::async_trait]
impl Tokens for Admin {
    async fn login(&self, request: Request<v1::LoginRequest>) -> Result<Response<v1::LoginResponse>, Status> {
        let caller = caller(&request)?;
        let v1::LoginRequest { hash, request_id: id } = request.into_inner();
        let (changed, expires_at) = self.service.log_in(&caller, request_id(&id)?, &hash).await?;
        Ok(answer(changed.index, v1::LoginResponse { expires_at, result: Some(result(&changed)) }))
    }

    async fn logout(&self, request: Request<v1::LogoutRequest>) -> Result<Response<v1::LogoutResponse>, Status> {
        let caller = caller(&request)?;
        let changed = self.service.log_out(&caller, request_id(&request.into_inner().request_id)?).await?;
        Ok(answer(changed.index, v1::LogoutResponse { result: Some(result(&changed)) }))
    }

    async fn create_api_key(
        &self,
        request: Request<v1::CreateApiKeyRequest>,
    ) -> Result<Response<v1::ApiKeyChange>, Status> {
        let caller = caller(&request)?;
        let v1::CreateApiKeyRequest { api_key, hash, request_id: request } = request.into_inner();
        let key = api_key.ok_or_else(|| ApiError::field("api_key", "missing"))?;
        let id = Name::parse(&key.id).map_err(ApiError::from)?;
        let request = request_id(&request)?;
        let changed = self.service.create_api_key(&caller, request, id.clone(), &hash, input(key)).await?;
        let other = |row: &flotilla_model::Token| row.hash[..] != hash[..];
        if self.service.local_state().api_key(&id).is_none_or(|row| other(row)) {
            changed.is_first(&format!("API key {id}"))?;
        }
        Ok(self.key_changed(&id, &changed))
    }

    async fn get_api_key(
        &self,
        request: Request<v1::GetApiKeyRequest>,
    ) -> Result<Response<v1::GetApiKeyResponse>, Status> {
        let caller = caller(&request)?;
        let v1::GetApiKeyRequest { id, consistency } = request.into_inner();
        let (state, view) = self.service.api_key(&caller, &id, is_stale(consistency)?).await?;
        let log_index = state.applied_index();
        Ok(answer(log_index, v1::GetApiKeyResponse { api_key: Some(shown(view)), log_index }))
    }

    async fn list_api_keys(
        &self,
        request: Request<v1::ListApiKeysRequest>,
    ) -> Result<Response<v1::ListApiKeysResponse>, Status> {
        let caller = caller(&request)?;
        let page = request.into_inner().page.unwrap_or_default();
        let size = page_size(page.size)?;
        let all = (0, usize::MAX, false);
        let (state, keys) = self.service.api_keys(&caller, all, is_stale(page.consistency)?).await?;
        let mut rest = keys.into_iter().filter(|key| key.id > page.token);
        let api_keys: Vec<_> = rest.by_ref().take(size).map(shown).collect();
        let more = rest.next().is_some();
        let next_page_token = api_keys.last().filter(|_| more).map(|key| key.id.clone()).unwrap_or_default();
        let log_index = state.applied_index();
        Ok(answer(log_index, v1::ListApiKeysResponse { api_keys, next_page_token, log_index }))
    }

    async fn update_api_key(
        &self,
        request: Request<v1::UpdateApiKeyRequest>,
    ) -> Result<Response<v1::ApiKeyChange>, Status> {
        let caller = caller(&request)?;
        let v1::UpdateApiKeyRequest { api_key, update_mask, expected_revision, request_id: request } =
            request.into_inner();
        let key = api_key.ok_or_else(|| ApiError::field("api_key", "missing"))?;
        let id = Name::parse(&key.id).map_err(ApiError::from)?;
        let (_, before) = self.service.api_key(&caller, &key.id, false).await?;
        let revision = expected_revision.unwrap_or(before.revision);
        let input = masked(before.input, key, &update_mask.unwrap_or_default().paths)?;
        let request = request_id(&request)?;
        let changed = self.service.update_api_key(&caller, request, id.clone(), Some(revision), input).await?;
        Ok(self.key_changed(&id, &changed))
    }

    async fn delete_api_key(
        &self,
        request: Request<v1::DeleteApiKeyRequest>,
    ) -> Result<Response<v1::DeleteApiKeyResponse>, Status> {
        let caller = caller(&request)?;
        let v1::DeleteApiKeyRequest { id, request_id: request, expected_revision } = request.into_inner();
        let id = Name::parse(&id).map_err(ApiError::from)?;
        let changed = self.service.delete_api_key(&caller, request_id(&request)?, &id, expected_revision).await?;
        Ok(answer(changed.index, v1::DeleteApiKeyResponse { result: Some(result(&changed)) }))
    }

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
        let v1::DeleteTokenRequest { name, request_id: id, expected_revision } = request.into_inner();
        let changed = self.service.delete_token(&caller, request_id(&id)?, name, expected_revision).await?;
        Ok(answer(changed.index, v1::DeleteTokenResponse { result: Some(result(&changed)) }))
    }
}

impl Admin {
    /// The record as it is after the change; it may be gone already.
    fn key_changed(&self, id: &Name, changed: &Changed) -> Response<v1::ApiKeyChange> {
        let state = self.service.local_state();
        let api_key = state.api_key(id).and_then(|row| view(row)).map(shown);
        answer(changed.index, v1::ApiKeyChange { api_key, result: Some(result(changed)) })
    }
}

fn input(key: v1::ApiKey) -> ApiKeyInput {
    ApiKeyInput { label: key.name, description: key.description, admin: key.admin, expires_at: key.expires_at }
}

fn masked(before: ApiKeyInput, key: v1::ApiKey, mask: &[String]) -> Result<ApiKeyInput, ApiError> {
    if mask.is_empty() {
        return Err(ApiError::field("update_mask", "names no field"));
    }
    let mut input = before;
    for field in mask {
        match field.as_str() {
            "name" => input.label.clone_from(&key.name),
            "description" => input.description.clone_from(&key.description),
            "admin" => input.admin.clone_from(&key.admin),
            "expires_at" => input.expires_at = key.expires_at,
            other => return Err(cannot_change(other)),
        }
    }
    Ok(input)
}

fn shown(view: ApiKeyView) -> v1::ApiKey {
    v1::ApiKey {
        id: view.id,
        name: view.input.label,
        description: view.input.description,
        admin: view.input.admin,
        expires_at: view.input.expires_at,
        created_at: view.created_at,
        updated_at: view.updated_at,
        revision: view.revision,
    }
}
