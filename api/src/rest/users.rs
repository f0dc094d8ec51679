//! `/users`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use flotilla_model::{User, Username};
use schemars::JsonSchema;
use serde::Deserialize;

use super::json::{UserBody, UserShown};
use super::page::{Asked, Page, Sent};
use super::reply::{Answer, Message, done};
use super::{Failed, Marks};
use crate::error::ApiError;
use crate::service::users::Created;
use crate::service::{Caller, Service};

/// With what its account counts.
pub(super) fn shown(service: &Service, state: &flotilla_model::State, user: &User) -> UserShown {
    UserShown::of(service, user, state.account(user.account).map(Arc::as_ref))
}

pub(super) async fn list(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    page: Page,
) -> Result<Answer<Vec<UserShown>>, Failed> {
    let (offset, limit, descending) = page.parts();
    let (state, users) = service.list_users(&caller, offset, limit, descending, marks.stale).await?;
    Ok(Answer::at(state.applied_index(), users.iter().map(|user| shown(&service, &state, user)).collect()))
}

pub(super) async fn get(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    Path(username): Path<String>,
) -> Result<Answer<UserShown>, Failed> {
    let (state, user) = service.user(&caller, &username, marks.stale).await?;
    Ok(Answer::at(state.applied_index(), shown(&service, &state, &user)).revision(user.revision))
}

pub(super) async fn create(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    Sent(body): Sent<UserBody>,
) -> Result<Answer<UserShown, 201>, Failed> {
    let username = Username::parse(&body.username).map_err(ApiError::from)?;
    let spec = service.spec(&username, body.into()).await?;
    let created = service.create_user(&caller, marks.request_id, username.clone(), spec).await?;
    let Created { changed, state, user } = created;
    let answer = Answer::of(&changed, shown(&service, &state, &user)).revision(user.revision);
    Ok(answer.header("location", &format!("/api/v2/users/{username}")))
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct ReplaceQuery {
    /// 1: the user's sessions end, also those that the change would not end.
    disconnect: u8,
}

pub(super) async fn replace(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    Asked(query): Asked<ReplaceQuery>,
    Path(username): Path<String>,
    Sent(body): Sent<UserBody>,
) -> Result<Answer<Message>, Failed> {
    let username = Username::parse(&username).map_err(ApiError::from)?;
    if !body.username.is_empty() && body.username != username.as_str() {
        return Err(ApiError::field("username", "a user cannot be renamed").into());
    }
    let spec = service.spec(&username, body.into()).await?;
    let mut changed =
        service.replace_user(&caller, marks.request_id, username.clone(), marks.expected_revision, spec).await?;
    if query.disconnect == 1
        && let Some(ended) = service.disconnect_users(&caller, [&username]).await?
    {
        changed = changed.and(ended);
    }
    Ok(done(&changed, "User updated"))
}

pub(super) async fn delete(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    Path(username): Path<String>,
) -> Result<Answer<Message>, Failed> {
    let username = Username::parse(&username).map_err(ApiError::from)?;
    let changed = service.delete_user(&caller, marks.request_id, username, marks.expected_revision).await?;
    Ok(done(&changed, "User deleted"))
}
