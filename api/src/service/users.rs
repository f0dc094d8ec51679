//! Users: list, read, create, change, delete.

use std::sync::Arc;

use flotilla_model::command::{ChangeOfRole, CreateUser, DeleteUser, ReplaceUser, UpdateUser, UserChange};
use flotilla_model::{
    AccountId, Command, LogIndex, Name, RequestId, State, User, UserPatch, UserSpec, Username, WallTime,
};

use super::{Caller, Changed, Service, page, wall_ms};
use crate::access::Verb;
use crate::error::{ApiError, Code};

/// The longest list of one answer.
pub const MAX_PAGE: usize = 500;

/// A user that was created.
pub struct Created {
    pub changed: Changed,
    pub state: Arc<State>,
    pub user: Arc<User>,
}

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
        let seen = || state.users_after(None).filter(|user| caller.sees(user));
        let count = if caller.role.is_none() { state.user_count() } else { seen().count() };
        let (skip, take) = page(count, offset, limit.min(MAX_PAGE), descending);
        let mut users: Vec<_> = seen().skip(skip).take(take).cloned().collect();
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
        let users = state.users_after(after).filter(|user| caller.sees(user)).take(limit).cloned().collect();
        Ok((state, users))
    }

    pub async fn user(
        &self,
        caller: &Caller,
        username: &str,
        stale: bool,
    ) -> Result<(Arc<State>, Arc<User>), ApiError> {
        caller.may(Verb::GetUser)?;
        self.find(caller, username, stale).await
    }

    pub async fn create_user(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
        username: Username,
        mut spec: UserSpec,
    ) -> Result<Created, ApiError> {
        caller.may(Verb::CreateUser)?;
        keep_role(caller, &mut spec.role)?;
        let change = UserChange::Create(CreateUser { username: username.clone(), spec: spec.clone() });
        let changed = self.change_user(caller, id, change).await?;
        let state = self.local_state();
        let there = state.user(&username).filter(|user| caller.sees(user));
        let account = state.account_by_root(&spec.home).map_or(AccountId(0), |account| account.id);
        let called = format!("user {username}");
        let as_made = |index| Arc::new(User::create(username, spec, account, index, WallTime(wall_ms())));
        let user = changed.record(there.map(|user| (user.incarnation, Arc::clone(user))), as_made, &called)?;
        Ok(Created { changed, state, user })
    }

    pub async fn replace_user(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
        username: Username,
        expected_revision: Option<LogIndex>,
        mut spec: UserSpec,
    ) -> Result<Changed, ApiError> {
        caller.may(Verb::UpdateUser)?;
        keep_role(caller, &mut spec.role)?;
        let keep_password = spec.password_hash.is_none();
        let change = UserChange::Replace(ReplaceUser { username, expected_revision, spec, keep_password });
        self.change_user(caller, id, change).await
    }

    pub async fn update_user(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
        username: Username,
        expected_revision: Option<LogIndex>,
        mut patch: UserPatch,
    ) -> Result<Changed, ApiError> {
        caller.may(Verb::UpdateUser)?;
        patch.role.as_mut().map_or(Ok(()), |role| keep_role(caller, role))?;
        let change = UserChange::Update(UpdateUser { username, expected_revision, patch });
        self.change_user(caller, id, change).await
    }

    pub async fn delete_user(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
        username: Username,
        expected_revision: Option<LogIndex>,
    ) -> Result<Changed, ApiError> {
        caller.may(Verb::DeleteUser)?;
        self.change_user(caller, id, UserChange::Delete(DeleteUser { username, expected_revision })).await
    }

    /// Of an admin with a role, apply decides what is the role's own.
    async fn change_user(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
        change: UserChange,
    ) -> Result<Changed, ApiError> {
        let command = match (caller.role.clone(), change) {
            (Some(role), change) => Command::ChangeOfRole(ChangeOfRole { role, change }),
            (None, UserChange::Create(create)) => Command::CreateUser(create),
            (None, UserChange::Update(update)) => Command::UpdateUser(update),
            (None, UserChange::Replace(replace)) => Command::ReplaceUser(replace),
            (None, UserChange::Delete(delete)) => Command::DeleteUser(delete),
        };
        self.change(caller, id, command).await
    }
}

/// Users of an admin with a role have that role.
fn keep_role(caller: &Caller, role: &mut Option<Name>) -> Result<(), ApiError> {
    match &caller.role {
        None => Ok(()),
        Some(own) if role.as_ref().is_none_or(|role| role == own) => {
            *role = Some(own.clone());
            Ok(())
        }
        Some(own) => Err(ApiError::new(Code::Forbidden, format!("role: {} has the role {own}", caller.name))),
    }
}
