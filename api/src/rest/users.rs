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
use super::{Changing, Failed, Once, Reading};
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
    reading: Reading,
    page: Page,
) -> Result<Answer<Vec<UserShown>>, Failed> {
    let (offset, limit, descending) = page.parts();
    let (state, users) = service.list_users(&caller, offset, limit, descending, reading.stale).await?;
    Ok(Answer::at(state.applied_index(), users.iter().map(|user| shown(&service, &state, user)).collect()))
}

pub(super) async fn get(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    reading: Reading,
    Path(username): Path<String>,
) -> Result<Answer<UserShown>, Failed> {
    let (state, user) = service.user(&caller, &username, reading.stale).await?;
    Ok(Answer::at(state.applied_index(), shown(&service, &state, &user)).revision(user.revision))
}

pub(super) async fn create(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    once: Once,
    Sent(body): Sent<UserBody>,
) -> Result<Answer<UserShown, 201>, Failed> {
    let username = Username::parse(&body.username).map_err(ApiError::from)?;
    let spec = service.spec(&username, body.into()).await?;
    let created = service.create_user(&caller, once.request_id, username.clone(), spec).await?;
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
    changing: Changing,
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
        service.replace_user(&caller, changing.request_id, username.clone(), changing.expected_revision, spec).await?;
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
    changing: Changing,
    Path(username): Path<String>,
) -> Result<Answer<Message>, Failed> {
    let username = Username::parse(&username).map_err(ApiError::from)?;
    let changed = service.delete_user(&caller, changing.request_id, username, changing.expected_revision).await?;
    Ok(done(&changed, "User deleted"))
}
