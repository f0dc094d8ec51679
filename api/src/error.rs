//! The one table from facts to HTTP codes, and whether a failure is definite and worth a retry.

use flotilla_cluster::{SubmitError, Unavailable};
use flotilla_model::{InvalidName, LogIndex, Refusal};

/// What went wrong, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Invalid,
    Unauthenticated,
    Forbidden,
    NotFound,
    Conflict,
    RevisionMismatch,
    TooLarge,
    Unsupported,
    Unavailable,
    Unknown,
    Internal,
}

impl Code {
    /// Wire name, HTTP status, whether a repeat may succeed.
    pub fn row(self) -> (&'static str, u16, bool) {
        match self {
            Code::Invalid => ("invalid", 400, false),
            Code::Unauthenticated => ("unauthenticated", 401, false),
            Code::Forbidden => ("forbidden", 403, false),
            Code::NotFound => ("not_found", 404, false),
            Code::Conflict => ("conflict", 409, false),
            Code::RevisionMismatch => ("revision_mismatch", 412, false),
            Code::TooLarge => ("too_large", 413, false),
            Code::Unsupported => ("unsupported", 501, false),
            Code::Unavailable => ("no_quorum", 503, true),
            Code::Unknown => ("outcome_unknown", 504, true),
            Code::Internal => ("internal", 500, false),
        }
    }
}

/// An answer that is an error.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub code: Code,
    pub message: String,
    /// Nothing happened and nothing will.
    pub definite: bool,
    pub request_id: Option<String>,
    pub log_index: Option<LogIndex>,
}

impl ApiError {
    pub fn new(code: Code, message: impl Into<String>) -> ApiError {
        let definite = code != Code::Unknown;
        ApiError { code, message: message.into(), definite, request_id: None, log_index: None }
    }
    pub fn invalid(message: impl Into<String>) -> ApiError {
        ApiError::new(Code::Invalid, message)
    }
    pub fn not_found(message: impl Into<String>) -> ApiError {
        ApiError::new(Code::NotFound, message)
    }
}

impl From<InvalidName> for ApiError {
    fn from(error: InvalidName) -> Self {
        ApiError::invalid(error.to_string())
    }
}

impl From<Unavailable> for ApiError {
    fn from(error: Unavailable) -> Self {
        ApiError::new(Code::Unavailable, error.to_string())
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        let code = if error.is_definite() { Code::Unavailable } else { Code::Unknown };
        ApiError::new(code, error.to_string())
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::UserNotFound { .. }
            | Refusal::SessionNotFound { .. }
            | Refusal::NodeNotFound { .. }
            | Refusal::NameNotFound { .. } => Code::NotFound,
            Refusal::UserExists { .. }
            | Refusal::NameExists { .. }
            | Refusal::AlreadyInitialised { .. }
            | Refusal::RootOverlaps { .. } => Code::Conflict,
            Refusal::RevisionMismatch { .. } => Code::RevisionMismatch,
            Refusal::NotInitialised => Code::Unavailable,
            Refusal::Invalid(_) | Refusal::RequestFromFuture => Code::Invalid,
            Refusal::RequestExpired | Refusal::NumberForgotten { .. } => Code::Unknown,
            _ => Code::Conflict,
        };
        ApiError { definite: refusal.is_definite(), ..ApiError::new(code, refusal.to_string()) }
    }
}
