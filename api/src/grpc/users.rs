//! `flotilla.admin.v1.Users`.

use flotilla_model::{State, User, UserPatch, Username};
use flotilla_proto::admin::v1;
use flotilla_proto::admin::v1::users_server::Users;
use flotilla_proto::convert;
use tonic::{Request, Response, Status};

use super::Admin;
use super::reply::{answer, caller, is_stale, page_size, request_id, result, status};
use crate::error::ApiError;
use crate::service::input::UserInput;
use crate::service::{Caller, Changed};

#[tonic::async_trait]
impl Users for Admin {
    async fn create_user(&self, request: Request<v1::CreateUserRequest>) -> Result<Response<v1::UserChange>, Status> {
        let caller = caller(&request)?;
        let v1::CreateUserRequest { user, password, request_id: id } = request.into_inner();
        let id = request_id(&id)?;
        let user = user.ok_or_else(|| ApiError::field("user", "missing"))?;
        let username = Username::parse(&user.username).map_err(ApiError::from)?;
        let spec = self.service.spec(&username, input(user, password)?).await?;
        let created = self.service.create_user(&caller, id, username, spec).await?;
        let (index, result) = (created.changed.index, Some(result(&created.changed)));
        let user = Some(self.shown(&created.state, &created.user));
        Ok(answer(index, v1::UserChange { user, result }))
    }

    async fn get_user(&self, request: Request<v1::GetUserRequest>) -> Result<Response<v1::GetUserResponse>, Status> {
        let caller = caller(&request)?;
        let v1::GetUserRequest { username, consistency } = request.into_inner();
        let (state, user) = self.service.user(&caller, &username, is_stale(consistency)?).await?;
        let log_index = state.applied_index();
        Ok(answer(log_index, v1::GetUserResponse { user: Some(self.shown(&state, &user)), log_index }))
    }

    async fn list_users(
        &self,
        request: Request<v1::ListUsersRequest>,
    ) -> Result<Response<v1::ListUsersResponse>, Status> {
        let caller = caller(&request)?;
        let v1::ListUsersRequest { page_size: size, page_token, consistency } = request.into_inner();
        let after = page_after(&page_token)?;
        let size = page_size(size)?;
        let stale = is_stale(consistency)?;
        let (state, mut users) = self.service.users_after(&caller, after.as_ref(), size + 1, stale).await?;
        let more = users.len() > size;
        users.truncate(size);
        let last = users.last().filter(|_| more);
        let log_index = state.applied_index();
        let page = v1::ListUsersResponse {
            next_page_token: last.map(|user| user.username.to_string()).unwrap_or_default(),
            users: users.iter().map(|user| self.shown(&state, user)).collect(),
            log_index,
        };
        Ok(answer(log_index, page))
    }

    async fn update_user(&self, request: Request<v1::UpdateUserRequest>) -> Result<Response<v1::UserChange>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let id = request_id(&request.request_id)?;
        let user = request.user.ok_or_else(|| ApiError::field("user", "missing"))?;
        let username = Username::parse(&user.username).map_err(ApiError::from)?;
        let mask = request.update_mask.unwrap_or_default().paths;
        let patch: UserPatch = self.service.patch(&mask, input(user, request.password)?).await?;
        let expected = request.expected_revision;
        let changed = self.service.update_user(&caller, id, username.clone(), expected, patch).await?;
        Ok(self.changed(&caller, &username, &changed))
    }

    async fn delete_user(
        &self,
        request: Request<v1::DeleteUserRequest>,
    ) -> Result<Response<v1::DeleteUserResponse>, Status> {
        let caller = caller(&request)?;
        let v1::DeleteUserRequest { username, expected_revision, request_id: id } = request.into_inner();
        let id = request_id(&id)?;
        let username = Username::parse(&username).map_err(ApiError::from)?;
        let changed = self.service.delete_user(&caller, id, username, expected_revision).await?;
        Ok(answer(changed.index, v1::DeleteUserResponse { result: Some(result(&changed)) }))
    }
}

impl Admin {
    fn shown(&self, state: &State, user: &User) -> v1::User {
        let account = state.account(user.account).map(std::sync::Arc::as_ref);
        convert::user(user, account, self.service.home_dir(&user.home))
    }

    /// The record as it is after the change; it may be gone already when somebody deleted it since.
    fn changed(&self, caller: &Caller, username: &Username, changed: &Changed) -> Response<v1::UserChange> {
        let state = self.service.local_state();
        let user = state.user(username).filter(|user| caller.sees(user)).map(|user| self.shown(&state, user));
        answer(changed.index, v1::UserChange { user, result: Some(result(changed)) })
    }
}

/// The token is the last name of the page before: names are stable, so that a page is never repeated or skipped.
fn page_after(token: &str) -> Result<Option<Username>, ApiError> {
    if token.is_empty() {
        return Ok(None);
    }
    let bad = |_| ApiError::field("page_token", "not one of ours");
    Username::parse(token).map(Some).map_err(bad)
}

fn input(user: v1::User, password: Option<String>) -> Result<UserInput, ApiError> {
    Ok(UserInput {
        status: status(user.status)?,
        expiration_date: user.expiration_date,
        password,
        public_keys: user.public_keys,
        home_dir: user.home_dir,
        uid: user.uid,
        gid: user.gid,
        max_sessions: user.max_sessions,
        quota_size: user.quota_size,
        quota_files: user.quota_files,
        permissions: user.permissions.into_iter().map(|(path, held)| (path, held.names)).collect(),
        upload_bandwidth: user.upload_bandwidth,
        download_bandwidth: user.download_bandwidth,
        filters: convert::filters_from(user.filters),
        email: user.email,
        description: user.description,
        additional_info: user.additional_info,
        groups: user.groups.into_iter().map(|one| (one.name, one.r#type)).collect(),
        role: user.role,
    })
}
