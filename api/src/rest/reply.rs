//! Errors as JSON, and what every request and answer carries in headers.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use flotilla_model::{LogIndex, RequestId};
use serde_json::{Value, json};

use crate::error::{ApiError, Code};

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
            response.headers_mut().insert("retry-after", HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            let schemes = HeaderValue::from_static("Bearer, Basic realm=\"flotilla\"");
            response.headers_mut().insert("www-authenticate", schemes);
        }
        if let Some(id) = error.request_id.and_then(|id| HeaderValue::from_str(&shown_id(id)).ok()) {
            response.headers_mut().insert("flotilla-request-id", id);
        }
        if let Some(index) = error.log_index {
            response.headers_mut().insert("flotilla-log-index", HeaderValue::from(index));
        }
        response
    }
}

/// The body of an error.
pub(crate) fn error_body(error: &ApiError) -> Value {
    let (name, status, _, retryable) = error.code.row();
    json!({
        "message": error.message,
        "error": if status == 404 { "Not Found" } else { error.message.as_str() },
        "code": name,
        "definite": error.definite,
        "retryable": retryable,
        "request_id": error.request_id.map(shown_id),
        "log_index": error.log_index,
    })
}

/// What a request's headers and query say beside its body.
pub(crate) struct Marks {
    pub request_id: Option<RequestId>,
    /// From `If-Match`.
    pub expected_revision: Option<LogIndex>,
    /// `?consistency=stale`.
    pub stale: bool,
}

impl<S: Sync> FromRequestParts<S> for Marks {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failed> {
        Ok(Marks {
            request_id: request_id(&parts.headers)?,
            expected_revision: expected_revision(&parts.headers)?,
            stale: is_stale(parts.uri.query().unwrap_or_default())?,
        })
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
    if let Some(own) = text("flotilla-request-id") {
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

/// A JSON answer that says at which log index it holds.
pub(crate) fn answer(status: StatusCode, index: LogIndex, body: Value) -> Response {
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert("flotilla-log-index", HeaderValue::from(index));
    response
}

/// Adds the record's revision as `ETag`.
pub(crate) fn with_revision(mut response: Response, revision: LogIndex) -> Response {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{revision}\"")) {
        response.headers_mut().insert("etag", tag);
    }
    response
}

/// A change's answer: the index, and the nodes that have not confirmed a cut.
pub(crate) fn changed(status: StatusCode, changed: &crate::service::Changed, mut body: Value) -> Response {
    if !changed.unconfirmed.is_empty() {
        body["unconfirmed_nodes"] = json!(changed.unconfirmed.iter().map(|node| node.0).collect::<Vec<_>>());
    }
    let mut response = answer(status, changed.index, body);
    if let Ok(id) = HeaderValue::from_str(&shown_id(changed.request_id)) {
        response.headers_mut().insert("flotilla-request-id", id);
    }
    response
}

fn shown_id(id: RequestId) -> String {
    uuid::Uuid::from_u128(id.0).to_string()
}
