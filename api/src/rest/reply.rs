//! Answers and errors as JSON, and what every request and answer carries in headers.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use flotilla_model::{LogIndex, RequestId};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::document::{Described, Operation};
use crate::error::{ApiError, Code};
use crate::service::Changed;

/// A JSON answer that says at which log index it holds.
pub(crate) struct Answer<T, const STATUS: u16 = 200> {
    body: T,
    headers: HeaderMap,
}

impl<T, const STATUS: u16> Answer<T, STATUS> {
    pub(crate) fn at(index: LogIndex, body: T) -> Self {
        let headers = HeaderMap::from_iter([(LOG_INDEX, HeaderValue::from(index))]);
        Answer { body, headers }
    }

    /// A change's answer: the index and the request id under which it was taken.
    pub(crate) fn of(changed: &Changed, body: T) -> Self {
        Answer::at(changed.index, body).header(REQUEST_ID, &shown_id(changed.request_id))
    }

    /// Adds the record's revision as `ETag`.
    pub(crate) fn revision(self, revision: LogIndex) -> Self {
        self.header("etag", &format!("\"{revision}\""))
    }

    pub(crate) fn header(mut self, name: &'static str, text: &str) -> Self {
        if let Ok(text) = HeaderValue::from_str(text) {
            self.headers.insert(name, text);
        }
        self
    }
}

pub(super) const LOG_INDEX: HeaderName = HeaderName::from_static("flotilla-log-index");
const REQUEST_ID: &str = "flotilla-request-id";

impl<T: Serialize, const STATUS: u16> IntoResponse for Answer<T, STATUS> {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(STATUS).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, self.headers, Json(self.body)).into_response()
    }
}

impl<T: JsonSchema, const STATUS: u16> Described for Answer<T, STATUS> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answer::<T>(STATUS, "application/json");
    }
}

/// What a change that gives no record answers.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Message {
    message: String,
    /// Nodes that have not confirmed that they cut the sessions concerned: nothing of those is acknowledged there later than a
    /// lease.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unconfirmed_nodes: Vec<u64>,
}

impl Message {
    pub(crate) fn new(message: impl Into<String>) -> Message {
        Message { message: message.into(), unconfirmed_nodes: Vec::new() }
    }
}

/// A change that gives no record.
pub(crate) fn done<const STATUS: u16>(changed: &Changed, message: impl Into<String>) -> Answer<Message, STATUS> {
    let unconfirmed_nodes = changed.unconfirmed.iter().map(|node| node.0).collect();
    Answer::of(changed, Message { unconfirmed_nodes, ..Message::new(message) })
}

/// An error as an answer.
pub(crate) struct Failed(pub ApiError);

impl From<ApiError> for Failed {
    fn from(error: ApiError) -> Self {
        Failed(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let error = self.0;
        let (_, status, ..) = error.code.row();
        let body = error_body(&error);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(body)).into_response();
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert("retry-after", HeaderValue::from(error.retry_after_s));
        }
        if status == StatusCode::UNAUTHORIZED {
            let schemes = HeaderValue::from_static("Bearer, Basic realm=\"flotilla\"");
            response.headers_mut().insert("www-authenticate", schemes);
        }
        if let Some(id) = error.request_id.and_then(|id| HeaderValue::from_str(&shown_id(id)).ok()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        if let Some(index) = error.log_index {
            response.headers_mut().insert(LOG_INDEX, HeaderValue::from(index));
        }
        response
    }
}

/// SFTPGo's two fields, and what a program needs to go on.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(crate) struct ErrorBody {
    message: String,
    error: String,
    #[schemars(extend("enum" = Code::ALL.map(|code| code.row().0)))]
    code: &'static str,
    /// Nothing happened and nothing will.
    definite: bool,
    /// A repeat, under the same request id, may succeed.
    retryable: bool,
    /// UUIDv7.
    request_id: Option<String>,
    log_index: Option<u64>,
}

/// The body of an error.
pub(crate) fn error_body(error: &ApiError) -> ErrorBody {
    let (code, status, _, retryable) = error.code.row();
    ErrorBody {
        message: error.message.clone(),
        error: if status == 404 { "Not Found".to_owned() } else { error.message.clone() },
        code,
        definite: error.definite,
        retryable,
        request_id: error.request_id.map(shown_id),
        log_index: error.log_index,
    }
}

/// Of a read: `?consistency=stale`.
pub(crate) struct Reading {
    pub stale: bool,
}

/// Of a change of what has no revision: the request's id.
pub(crate) struct Once {
    pub request_id: Option<RequestId>,
}

/// Of a change of a record: the request's id, and the revision that `If-Match` names.
pub(crate) struct Changing {
    pub request_id: Option<RequestId>,
    pub expected_revision: Option<LogIndex>,
}

impl<S: Sync> FromRequestParts<S> for Reading {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failed> {
        Ok(Reading { stale: is_stale(parts.uri.query().unwrap_or_default())? })
    }
}

impl<S: Sync> FromRequestParts<S> for Once {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failed> {
        // A condition that cannot be judged is not passed over.
        if expected_revision(&parts.headers)?.is_some() {
            return Err(Failed(ApiError::invalid("If-Match: what this call changes has no revision: leave it out")));
        }
        Ok(Once { request_id: request_id(&parts.headers)? })
    }
}

impl<S: Sync> FromRequestParts<S> for Changing {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failed> {
        let (request_id, expected_revision) = (request_id(&parts.headers)?, expected_revision(&parts.headers)?);
        Ok(Changing { request_id, expected_revision })
    }
}

// For the document; `is_stale` reads it.
#[allow(dead_code)]
#[derive(JsonSchema)]
struct ReadQuery {
    /// `linearizable`, or `stale`: what the node has, at the index that the answer names.
    #[schemars(extend("enum" = ["linearizable", "stale"]))]
    consistency: Option<String>,
}

impl Described for Reading {
    fn describe(operation: &mut Operation<'_>) {
        operation.query::<ReadQuery>();
    }
}

impl Described for Once {
    fn describe(operation: &mut Operation<'_>) {
        let uuid = json!({"type": "string", "format": "uuid"});
        operation.header(
            "Flotilla-Request-Id",
            "UUIDv7: under one id a change is done once and answers the same.",
            uuid,
        );
        let text = json!({"type": "string"});
        operation.header("Idempotency-Key", "The same, where it is a UUIDv7; ignored otherwise.", text);
    }
}

impl Described for Changing {
    fn describe(operation: &mut Operation<'_>) {
        Once::describe(operation);
        let text = json!({"type": "string"});
        operation.header("If-Match", "The record's ETag: on another revision nothing is changed (412).", text);
    }
}

fn is_stale(query: &str) -> Result<bool, Failed> {
    match query.split('&').find_map(|pair| pair.strip_prefix("consistency=")) {
        None | Some("linearizable") => Ok(false),
        Some("stale") => Ok(true),
        Some(other) => Err(Failed(ApiError::invalid(format!("consistency={other}: `linearizable` or `stale`")))),
    }
}

/// `Flotilla-Request-Id`, or `Idempotency-Key` where it is a UUIDv7; another kind of key is not ours to judge and ignored.
fn request_id(headers: &HeaderMap) -> Result<Option<RequestId>, Failed> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let version_7 = |text: &str| uuid::Uuid::try_parse(text).ok().filter(|id| id.get_version_num() == 7);
    if let Some(own) = text(REQUEST_ID) {
        let id = version_7(own).ok_or_else(|| ApiError::invalid("Flotilla-Request-Id: not a UUIDv7"))?;
        return Ok(Some(RequestId(id.as_u128())));
    }
    Ok(text("idempotency-key").and_then(version_7).map(|id| RequestId(id.as_u128())))
}

fn expected_revision(headers: &HeaderMap) -> Result<Option<LogIndex>, Failed> {
    let Some(value) = headers.get("if-match") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text.trim_start_matches("W/").trim_matches('"').parse();
    number.map(Some).map_err(|_| Failed(ApiError::new(Code::Invalid, format!("If-Match: {text:?} is not a revision"))))
}

fn shown_id(id: RequestId) -> String {
    uuid::Uuid::from_u128(id.0).to_string()
}
