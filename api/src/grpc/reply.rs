//! Errors as gRPC statuses with typed details, and what every request and answer carries.

use std::collections::HashMap;
use std::time::Duration;

use flotilla_model::RequestId;
use flotilla_proto::admin::v1;
use tonic::{Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::{ApiError, Code};
use crate::service::{Caller, Changed};

const DOMAIN: &str = "flotilla";

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Status {
        let (name, _, code, retryable) = error.code.row();
        let mut facts = HashMap::from([
            ("definite".to_owned(), error.definite.to_string()),
            ("retryable".to_owned(), retryable.to_string()),
        ]);
        facts.extend(error.request_id.map(|id| ("request_id".to_owned(), shown_id(id))));
        facts.extend(error.log_index.map(|index| ("log_index".to_owned(), index.to_string())));
        let mut details = ErrorDetails::with_error_info(name.to_uppercase(), DOMAIN, facts);
        if let Some(field) = &error.field {
            details.add_bad_request_violation(field, &error.message);
        }
        if retryable {
            details.set_retry_info(Some(Duration::from_secs(error.retry_after_s.into())));
        }
        Status::with_error_details(code, error.message, details)
    }
}

/// Whom the guard found. It stands before every call, so its absence is a fault of ours.
pub(super) fn caller<T>(request: &Request<T>) -> Result<Caller, ApiError> {
    let found = request.extensions().get::<Caller>().cloned();
    found.ok_or_else(|| ApiError::new(Code::Internal, "the call was not authenticated"))
}

/// Empty: the service makes one.
pub(super) fn request_id(text: &str) -> Result<Option<RequestId>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let id = uuid::Uuid::try_parse(text).ok().filter(|id| id.get_version_num() == 7);
    let id = id.ok_or_else(|| ApiError::field("request_id", "not a UUIDv7"))?;
    Ok(Some(RequestId(id.as_u128())))
}

pub(super) fn is_stale(consistency: i32) -> Result<bool, ApiError> {
    match v1::Consistency::try_from(consistency) {
        Ok(v1::Consistency::Unspecified) => Ok(false),
        Ok(v1::Consistency::Stale) => Ok(true),
        Err(_) => Err(ApiError::field("consistency", format_args!("{consistency} is unknown"))),
    }
}

/// 0 or 1, as REST's `status`; unspecified is enabled.
pub(super) fn status(status: i32) -> Result<u32, ApiError> {
    match v1::UserStatus::try_from(status) {
        Ok(v1::UserStatus::Unspecified | v1::UserStatus::Enabled) => Ok(1),
        Ok(v1::UserStatus::Disabled) => Ok(0),
        Err(_) => Err(ApiError::field("status", format_args!("{status} is unknown"))),
    }
}

/// Rows of a page.
pub(super) fn page_size(asked: u32) -> Result<usize, ApiError> {
    match asked {
        0 => Ok(100),
        1..=1000 => Ok(asked as usize),
        more => Err(ApiError::field("page_size", format_args!("{more} is more than 1000"))),
    }
}

pub(super) fn result(changed: &Changed) -> v1::ChangeResult {
    v1::ChangeResult {
        log_index: changed.index,
        request_id: shown_id(changed.request_id),
        unconfirmed_nodes: changed.unconfirmed.iter().map(|node| node.0).collect(),
    }
}

fn shown_id(id: RequestId) -> String {
    uuid::Uuid::from_u128(id.0).to_string()
}

/// An answer with the index at which it holds, in metadata as in REST's header.
pub(super) fn answer<T>(index: u64, message: T) -> Response<T> {
    let mut response = Response::new(message);
    response.metadata_mut().insert("flotilla-log-index", index.into());
    response
}
