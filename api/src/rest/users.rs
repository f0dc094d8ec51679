//! `/users`.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use flotilla_model::Username;
use serde::Deserialize;
use serde_json::{Value, json};

use super::json::{UserBody, user as shown};
use super::page::{Asked, Page, whole};
use super::reply::{answer, changed, with_revision};
use super::{Failed, Marks};
use crate::error::ApiError;
use crate::service::users::Created;
use crate::service::{Caller, Service};

pub(super) async fn list(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    page: Page,
) -> Result<Response, Failed> {
    let (offset, limit, descending) = page.parts();
    let (state, users) = service.list_users(&caller, offset, limit, descending, marks.stale).await?;
    let rows: Vec<Value> =
        users.iter().map(|user| shown(&service, user, state.account(user.account).map(Arc::as_ref))).collect();
    Ok(answer(StatusCode::OK, state.applied_index(), Value::Array(rows)))
}

pub(super) async fn get(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    Path(username): Path<String>,
) -> Result<Response, Failed> {
    let (state, user) = service.user(&caller, &username, marks.stale).await?;
    let body = shown(&service, &user, state.account(user.account).map(Arc::as_ref));
    Ok(with_revision(answer(StatusCode::OK, state.applied_index(), body), user.revision))
}

pub(super) async fn create(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response, Failed> {
    let body = UserBody::parse(&whole(body, "1 MiB")?)?;
    let username = Username::parse(&body.username).map_err(ApiError::from)?;
    let spec = service.spec(&username, body.into()).await?;
    let created = service.create_user(&caller, marks.request_id, username.clone(), spec).await?;
    let Created { changed: done, state, user } = created;
    let body = shown(&service, &user, state.account(user.account).map(Arc::as_ref));
    let mut response = with_revision(changed(StatusCode::CREATED, &done, body), user.revision);
    if let Ok(location) = HeaderValue::from_str(&format!("/api/v2/users/{username}")) {
        response.headers_mut().insert("location", location);
    }
    Ok(response)
}

#[derive(Default, Deserialize)]
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
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response, Failed> {
    let username = Username::parse(&username).map_err(ApiError::from)?;
    let body = UserBody::parse(&whole(body, "1 MiB")?)?;
    if !body.username.is_empty() && body.username != username.as_str() {
        return Err(ApiError::field("username", "a user cannot be renamed").into());
    }
    let spec = service.spec(&username, body.into()).await?;
    let mut done =
        service.replace_user(&caller, marks.request_id, username.clone(), marks.expected_revision, spec).await?;
    if query.disconnect == 1
        && let Some(ended) = service.disconnect_users(&caller, [&username]).await?
    {
        done = done.and(ended);
    }
    Ok(changed(StatusCode::OK, &done, json!({"message": "User updated"})))
}

pub(super) async fn delete(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    Path(username): Path<String>,
) -> Result<Response, Failed> {
    let username = Username::parse(&username).map_err(ApiError::from)?;
    let done = service.delete_user(&caller, marks.request_id, username, marks.expected_revision).await?;
    Ok(changed(StatusCode::OK, &done, json!({"message": "User deleted"})))
}
