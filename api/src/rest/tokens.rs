//! `/token`, `/logout`, `/apikeys`. Here the server makes the secrets, shows them once and keeps their hashes.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use base64::Engine;
use flotilla_cluster::new_request_id;
use flotilla_model::Name;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::document::{Described, Operation};
use super::json::known;
use super::page::{Page, Received, Sent, typed};
use super::reply::{Answer, Message, done};
use super::{Changing, Failed, Once, Reading};
use crate::error::{ApiError, Code};
use crate::service::api_keys::{ApiKeyInput, ApiKeyView};
use crate::service::{Caller, Service};

/// 256 random bits.
pub(super) fn secret() -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// A token for the password that the call was made with.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Token")]
pub(super) struct TokenMade {
    access_token: String,
    /// RFC 3339.
    expires_at: String,
}

/// The one answer for a password.
pub(super) struct LoggedIn(Answer<TokenMade>);

impl axum::response::IntoResponse for LoggedIn {
    fn into_response(self) -> axum::response::Response {
        self.0.into_response()
    }
}

impl Described for LoggedIn {
    fn describe(operation: &mut Operation<'_>) {
        operation.by_password();
        <Answer<TokenMade>>::describe(operation);
    }
}

pub(super) async fn token(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    once: Once,
) -> Result<LoggedIn, Failed> {
    let access_token = secret();
    let hash = Sha256::digest(access_token.as_bytes());
    let (changed, expires_at) = service.log_in(&caller, once.request_id, &hash).await?;
    let made = TokenMade { access_token, expires_at: rfc3339(expires_at) };
    Ok(LoggedIn(Answer::of(&changed, made).header("cache-control", "no-store")))
}

pub(super) async fn logout(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    once: Once,
) -> Result<Answer<Message>, Failed> {
    let changed = service.log_out(&caller, once.request_id).await?;
    Ok(done(&changed, "Your token has been invalidated"))
}

/// Seconds are enough.
fn rfc3339(ms: u64) -> String {
    prost_types::Timestamp { seconds: (ms / 1_000) as i64, nanos: 0 }.to_string()
}

const MADE: [&str; 6] = ["id", "key", "created_at", "updated_at", "last_use_at", "revision"];
const UNSERVED: [&str; 1] = ["user"];

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ApiKeyInput", transform = fields)]
pub(super) struct KeyBody {
    name: String,
    /// 1: admin. Users' keys are not served.
    scope: u32,
    /// Milliseconds since 1970; 0: never.
    expires_at: u64,
    description: String,
    /// Whom it acts for; empty: whom the caller names with the key, if that one allows it.
    admin: String,
}

impl Default for KeyBody {
    fn default() -> Self {
        let (name, description, admin) = Default::default();
        KeyBody { name, scope: 1, expires_at: 0, description, admin }
    }
}

fn fields(schema: &mut Schema) {
    known::taken(schema, &MADE, &UNSERVED);
}

impl Received for KeyBody {
    fn receive(body: Value) -> Result<Self, ApiError> {
        let body: KeyBody = typed(known::strip_of(body, &MADE, &UNSERVED, &[])?)?;
        if body.scope != 1 {
            return Err(ApiError::field("scope", "only 1 (admin) is served in this version"));
        }
        Ok(body)
    }
}

impl From<KeyBody> for ApiKeyInput {
    fn from(body: KeyBody) -> ApiKeyInput {
        let KeyBody { name: label, expires_at, description, admin, .. } = body;
        ApiKeyInput { label, description, admin, expires_at }
    }
}

/// An API key, without the key.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ApiKey")]
pub(super) struct KeyShown {
    id: String,
    name: String,
    /// 1: admin.
    scope: u8,
    created_at: u64,
    updated_at: u64,
    /// Not kept: 0.
    last_use_at: u64,
    expires_at: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    admin: String,
    /// Log index of the last change: also the ETag.
    revision: u64,
}

impl KeyShown {
    fn of(view: &ApiKeyView) -> KeyShown {
        KeyShown {
            id: view.id.clone(),
            name: view.input.label.clone(),
            scope: 1,
            created_at: view.created_at,
            updated_at: view.updated_at,
            last_use_at: 0,
            expires_at: view.input.expires_at,
            description: view.input.description.clone(),
            admin: view.input.admin.clone(),
            revision: view.revision,
        }
    }
}

/// A new API key, shown once.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ApiKeyMade")]
pub(super) struct KeyMade {
    message: String,
    /// ID.KEY, for the header X-SFTPGO-API-KEY.
    key: String,
}

pub(super) async fn list(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    reading: Reading,
    page: Page,
) -> Result<Answer<Vec<KeyShown>>, Failed> {
    let (state, keys) = service.api_keys(&caller, page.parts(), reading.stale).await?;
    Ok(Answer::at(state.applied_index(), keys.iter().map(KeyShown::of).collect()))
}

pub(super) async fn get(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    reading: Reading,
    Path(id): Path<String>,
) -> Result<Answer<KeyShown>, Failed> {
    let (state, key) = service.api_key(&caller, &id, reading.stale).await?;
    Ok(Answer::at(state.applied_index(), KeyShown::of(&key)).revision(key.revision))
}

/// The id comes from the request's, so that a repeated request meets the key that it made before.
pub(super) async fn create(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    once: Once,
    Sent(body): Sent<KeyBody>,
) -> Result<Answer<KeyMade, 201>, Failed> {
    let request = once.request_id.unwrap_or_else(new_request_id);
    let id = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(request.0.to_be_bytes());
    let id = Name::parse(&format!("k{id}")).map_err(ApiError::from)?;
    let key = secret();
    let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    let changed = service.create_api_key(&caller, Some(request), id.clone(), &hash, body.into()).await?;
    if service.local_state().token_by_hash(&hash).is_none() {
        let text = format!("API key {id} was made by this request before: it is not shown again");
        let error = ApiError::new(Code::AlreadyExists, text);
        return Err(ApiError { request_id: Some(request), log_index: Some(changed.index), ..error }.into());
    }
    let message = "API key created. This is the only time it is shown.".to_owned();
    let answer = Answer::of(&changed, KeyMade { message, key: format!("{id}.{key}") });
    Ok(answer.header("location", &format!("/api/v2/apikeys/{id}")).header("x-object-id", id.as_str()))
}

pub(super) async fn replace(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    changing: Changing,
    Path(id): Path<String>,
    Sent(body): Sent<KeyBody>,
) -> Result<Answer<Message>, Failed> {
    let id = Name::parse(&id).map_err(ApiError::from)?;
    let changed =
        service.update_api_key(&caller, changing.request_id, id, changing.expected_revision, body.into()).await?;
    Ok(done(&changed, "API key updated"))
}

pub(super) async fn delete(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    changing: Changing,
    Path(id): Path<String>,
) -> Result<Answer<Message>, Failed> {
    let id = Name::parse(&id).map_err(ApiError::from)?;
    let changed = service.delete_api_key(&caller, changing.request_id, &id, changing.expected_revision).await?;
    Ok(done(&changed, "API key deleted"))
}
