//! `/token`, `/logout`, `/apikeys`. Here the server makes the secrets, shows them once and keeps their hashes.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use base64::Engine;
use flotilla_cluster::new_request_id;
use flotilla_model::Name;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::json::known;
use super::page::{Page, typed, value, whole};
use super::reply::{answer, changed, with_revision};
use super::{Failed, Marks};
use crate::error::{ApiError, Code};
use crate::service::api_keys::{ApiKeyInput, ApiKeyView};
use crate::service::{Caller, Service};

/// 256 random bits.
pub(super) fn secret() -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

pub(super) async fn token(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
) -> Result<Response, Failed> {
    let text = secret();
    let hash = Sha256::digest(text.as_bytes());
    let (done, expires_at) = service.log_in(&caller, marks.request_id, &hash).await?;
    let mut response = changed(StatusCode::OK, &done, json!({"access_token": text, "expires_at": rfc3339(expires_at)}));
    response.headers_mut().insert("cache-control", HeaderValue::from_static("no-store"));
    Ok(response)
}

pub(super) async fn logout(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
) -> Result<Response, Failed> {
    let done = service.log_out(&caller, marks.request_id).await?;
    Ok(changed(StatusCode::OK, &done, json!({"message": "Your token has been invalidated"})))
}

/// Seconds are enough.
fn rfc3339(ms: u64) -> String {
    prost_types::Timestamp { seconds: (ms / 1_000) as i64, nanos: 0 }.to_string()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KeyBody {
    name: String,
    /// 1: admin. Users' keys are not served.
    scope: u32,
    expires_at: u64,
    description: String,
    admin: String,
}

impl Default for KeyBody {
    fn default() -> Self {
        let (name, description, admin) = Default::default();
        KeyBody { name, scope: 1, expires_at: 0, description, admin }
    }
}

fn read(body: Value) -> Result<ApiKeyInput, ApiError> {
    let made = ["id", "key", "created_at", "updated_at", "last_use_at", "revision"];
    let body: KeyBody = typed(known::strip_of(body, &made, &["user"], &[])?)?;
    if body.scope != 1 {
        return Err(ApiError::field("scope", "only 1 (admin) is served in this version"));
    }
    let KeyBody { name: label, expires_at, description, admin, .. } = body;
    Ok(ApiKeyInput { label, description, admin, expires_at })
}

pub(super) fn shown(view: &ApiKeyView) -> Value {
    let mut body = json!({
        "id": view.id,
        "name": view.input.label,
        "scope": 1,
        "created_at": view.created_at,
        "updated_at": view.updated_at,
        "last_use_at": 0,
        "expires_at": view.input.expires_at,
        "revision": view.revision,
    });
    let texts = [("description", &view.input.description), ("admin", &view.input.admin)];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        body[name] = json!(text);
    }
    body
}

pub(super) async fn list(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    page: Page,
) -> Result<Response, Failed> {
    let (state, keys) = service.api_keys(&caller, page.parts(), marks.stale).await?;
    Ok(answer(StatusCode::OK, state.applied_index(), keys.iter().map(shown).collect()))
}

pub(super) async fn get(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    Path(id): Path<String>,
) -> Result<Response, Failed> {
    let (state, key) = service.api_key(&caller, &id, marks.stale).await?;
    Ok(with_revision(answer(StatusCode::OK, state.applied_index(), shown(&key)), key.revision))
}

/// The id comes from the request's, so that a repeated request meets the key that it made before.
pub(super) async fn create(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failed> {
    let input = read(value(&whole(body, "1 MiB")?)?)?;
    let request = marks.request_id.unwrap_or_else(new_request_id);
    let id = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(request.0.to_be_bytes());
    let id = Name::parse(&format!("k{id}")).map_err(ApiError::from)?;
    let key = secret();
    let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    let done = service.create_api_key(&caller, Some(request), id.clone(), &hash, input).await?;
    if service.local_state().token_by_hash(&hash).is_none() {
        let text = format!("API key {id} was made by this request before: it is not shown again");
        let error = ApiError::new(Code::AlreadyExists, text);
        return Err(ApiError { request_id: Some(request), log_index: Some(done.index), ..error }.into());
    }
    let body = json!({
        "message": "API key created. This is the only time it is shown.", "key": format!("{id}.{key}")});
    let mut response = changed(StatusCode::CREATED, &done, body);
    let headers = [("location", format!("/api/v2/apikeys/{id}")), ("x-object-id", id.to_string())];
    for (name, text) in headers {
        if let Ok(text) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(name, text);
        }
    }
    Ok(response)
}

pub(super) async fn replace(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failed> {
    let input = read(value(&whole(body, "1 MiB")?)?)?;
    let id = Name::parse(&id).map_err(ApiError::from)?;
    let done = service.update_api_key(&caller, marks.request_id, id, marks.expected_revision, input).await?;
    Ok(changed(StatusCode::OK, &done, json!({"message": "API key updated"})))
}

pub(super) async fn delete(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    Path(id): Path<String>,
) -> Result<Response, Failed> {
    let id = Name::parse(&id).map_err(ApiError::from)?;
    let done = service.delete_api_key(&caller, marks.request_id, &id, marks.expected_revision).await?;
    Ok(changed(StatusCode::OK, &done, json!({"message": "API key deleted"})))
}
