//! Users: list, read, create, change, delete.

use std::sync::Arc;

use flotilla_model::command::{CreateUser, DeleteUser, ReplaceUser, UpdateUser};
use flotilla_model::{Command, LogIndex, RequestId, State, User, UserPatch, UserSpec, Username};

use super::{Caller, Changed, Service};
use crate::access::Verb;
use crate::error::ApiError;

/// The longest list of one answer.
pub const MAX_PAGE: usize = 500;

impl Service {
    /// Users in order of name, backwards if `descending`; with the state they come from.
    pub async fn list_users(
        &self,
        caller: &Caller,
        offset: usize,
        limit: usize,
        descending: bool,
        stale: bool,
    ) -> Result<(Arc<State>, Vec<Arc<User>>), ApiError> {
        caller.may(Verb::ListUsers)?;
        let state = self.state(stale).await?;
        let limit = limit.min(MAX_PAGE);
        let count = state.user_count();
        let (skip, take) = if descending {
            let take = limit.min(count.saturating_sub(offset));
            (count.saturating_sub(offset + take), take)
        } else {
            (offset, limit)
        };
        let mut users: Vec<_> = state.users_after(None).skip(skip).take(take).cloned().collect();
        if descending {
            users.reverse();
        }
        Ok((state, users))
    }

    /// Users in order of name after `after`, at most `limit`.
    pub async fn users_after(
        &self,
        caller: &Caller,
        after: Option<&Username>,
        limit: usize,
        stale: bool,
    ) -> Result<(Arc<State>, Vec<Arc<User>>), ApiError> {
        caller.may(Verb::ListUsers)?;
        let state = self.state(stale).await?;
        let users = state.users_after(after).take(limit).cloned().collect();
        Ok((state, users))
    }

    pub async fn user(
        &self,
        caller: &Caller,
        username: &str,
        stale: bool,
    ) -> Result<(Arc<State>, Arc<User>), ApiError> {
        caller.may(Verb::GetUser)?;
        self.find(username, stale).await
    }

    pub async fn create_user(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
        username: Username,
        spec: UserSpec,
    ) -> Result<Changed, ApiError> {
        caller.may(Verb::CreateUser)?;
        self.change(caller, id, Command::CreateUser(CreateUser { username, spec })).await
    }

    pub async fn replace_user(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
        username: Username,
        expected_revision: Option<LogIndex>,
        spec: UserSpec,
    ) -> Result<Changed, ApiError> {
        caller.may(Verb::UpdateUser)?;
        let keep_password = spec.password_hash.is_none();
        let command = ReplaceUser { username, expected_revision, spec, keep_password };
        self.change(caller, id, Command::ReplaceUser(command)).await
    }

    pub async fn update_user(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
        username: Username,
        expected_revision: Option<LogIndex>,
        patch: UserPatch,
    ) -> Result<Changed, ApiError> {
        caller.may(Verb::UpdateUser)?;
        self.change(caller, id, Command::UpdateUser(UpdateUser { username, expected_revision, patch })).await
    }

    pub async fn delete_user(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
        username: Username,
        expected_revision: Option<LogIndex>,
    ) -> Result<Changed, ApiError> {
        caller.may(Verb::DeleteUser)?;
        self.change(caller, id, Command::DeleteUser(DeleteUser { username, expected_revision })).await
    }
}
