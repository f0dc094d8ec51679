//! The one table from facts to HTTP and gRPC codes, and whether a failure is definite and worth a retry.

use flotilla_cluster::{ManageError, SubmitError, Unavailable};
use flotilla_model::reply::AccountRefusal;
use flotilla_model::{InvalidName, LogIndex, Refusal, RequestId, State};

/// What went wrong, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Invalid,
    Unauthenticated,
    Forbidden,
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// It does not fit what is there.
    Conflict,
    RevisionMismatch,
    TooLarge,
    /// Too many failed logins, or too many being verified.
    TooMany,
    /// Events that are asked for are no longer kept.
    Compacted,
    MethodNotAllowed,
    Unsupported,
    Unavailable,
    Unknown,
    Internal,
}

impl Code {
    pub const ALL: [Code; 15] = [
        Code::Invalid,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::NotFound,
        Code::AlreadyExists,
        Code::Conflict,
        Code::RevisionMismatch,
        Code::TooLarge,
        Code::TooMany,
        Code::Compacted,
        Code::MethodNotAllowed,
        Code::Unsupported,
        Code::Unavailable,
        Code::Unknown,
        Code::Internal,
    ];

    /// Wire name, HTTP status, gRPC code, whether a repeat (under the same request id) may succeed.
    pub fn row(self) -> (&'static str, u16, tonic::Code, bool) {
        match self {
            Code::Invalid => ("invalid", 400, tonic::Code::InvalidArgument, false),
            Code::Unauthenticated => ("unauthenticated", 401, tonic::Code::Unauthenticated, false),
            Code::Forbidden => ("forbidden", 403, tonic::Code::PermissionDenied, false),
            Code::NotFound => ("not_found", 404, tonic::Code::NotFound, false),
            Code::AlreadyExists => ("already_exists", 409, tonic::Code::AlreadyExists, false),
            Code::Conflict => ("conflict", 409, tonic::Code::FailedPrecondition, false),
            Code::RevisionMismatch => ("revision_mismatch", 412, tonic::Code::Aborted, false),
            Code::TooLarge => ("too_large", 413, tonic::Code::OutOfRange, false),
            Code::TooMany => ("too_many", 429, tonic::Code::ResourceExhausted, true),
            Code::Compacted => ("events_compacted", 410, tonic::Code::OutOfRange, false),
            Code::MethodNotAllowed => ("method_not_allowed", 405, tonic::Code::Unimplemented, false),
            Code::Unsupported => ("unsupported", 501, tonic::Code::Unimplemented, false),
            Code::Unavailable => ("no_quorum", 503, tonic::Code::Unavailable, true),
            Code::Unknown => ("outcome_unknown", 504, tonic::Code::DeadlineExceeded, true),
            Code::Internal => ("internal", 500, tonic::Code::Internal, false),
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
    pub request_id: Option<RequestId>,
    /// The field of the request that is wrong.
    pub field: Option<String>,
    pub log_index: Option<LogIndex>,
    /// Seconds after which it may go better, where it may.
    pub retry_after_s: u16,
}

impl ApiError {
    pub fn new(code: Code, message: impl Into<String>) -> ApiError {
        let (definite, message) = (code != Code::Unknown, message.into());
        ApiError { code, message, definite, request_id: None, field: None, log_index: None, retry_after_s: 1 }
    }
    pub fn invalid(message: impl Into<String>) -> ApiError {
        ApiError::new(Code::Invalid, message)
    }
    /// A field of the request that cannot be taken; named in the text too.
    pub fn field(field: impl Into<String>, why: impl std::fmt::Display) -> ApiError {
        let field = field.into();
        ApiError { field: Some(field.clone()), ..ApiError::invalid(format!("{field}: {why}")) }
    }
    pub fn not_found(message: impl Into<String>) -> ApiError {
        ApiError::new(Code::NotFound, message)
    }
    /// With the index of the state that it was judged by. This node may have applied more since.
    pub fn judged_by(self, state: &State) -> ApiError {
        ApiError { log_index: Some(state.applied_index()), ..self }
    }
}

impl From<InvalidName> for ApiError {
    fn from(error: InvalidName) -> Self {
        ApiError::field(error.what, error.reason)
    }
}

impl From<Unavailable> for ApiError {
    fn from(error: Unavailable) -> Self {
        ApiError::new(Code::Unavailable, error.to_string())
    }
}

impl From<ManageError> for ApiError {
    fn from(error: ManageError) -> Self {
        let code = match error {
            ManageError::Unavailable(_) => Code::Unavailable,
            ManageError::Refused(_) => Code::Conflict,
        };
        ApiError::new(code, error.to_string())
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
        // Apply says `Invalid("field: why")`.
        let field = match &refusal {
            Refusal::Invalid(text) => text.split_once(": ").map(|(field, _)| field.to_owned()),
            Refusal::HomeOfOthers { .. } => Some("home_dir".to_owned()),
            _ => None,
        };
        let definite = refusal.is_definite();
        ApiError { definite, field, ..ApiError::new(code(&refusal), refusal.to_string()) }
    }
}

/// Every refusal stands here: a new one does not compile before it has a code.
fn code(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::UserNotFound { .. }
        | Refusal::SessionNotFound { .. }
        | Refusal::NodeNotFound { .. }
        | Refusal::NameNotFound { .. } => Code::NotFound,
        Refusal::UserExists { .. } | Refusal::NameExists { .. } | Refusal::AlreadyInitialised { .. } => {
            Code::AlreadyExists
        }
        Refusal::RevisionMismatch { .. } => Code::RevisionMismatch,
        Refusal::HomeOfOthers { .. } => Code::Forbidden,
        Refusal::NotInitialised => Code::Unavailable,
        Refusal::Invalid(_) | Refusal::RequestFromFuture => Code::Invalid,
        Refusal::RequestExpired | Refusal::NumberForgotten { .. } => Code::Unknown,
        Refusal::Account(AccountRefusal::NotFound) => Code::NotFound,
        Refusal::Account(AccountRefusal::Negative | AccountRefusal::TooLarge | AccountRefusal::Unnumbered) => {
            Code::Invalid
        }
        Refusal::UserDisabled { .. }
        | Refusal::UserExpired { .. }
        | Refusal::UserChanged { .. }
        | Refusal::SessionLimitReached { .. }
        | Refusal::SessionClosedBefore { .. }
        | Refusal::StaleEpoch { .. }
        | Refusal::RegistrationOvertaken { .. }
        | Refusal::RegistrationCollided
        | Refusal::NumberTooFar { .. }
        | Refusal::StartWentBack { .. }
        | Refusal::StorageKnown { .. }
        | Refusal::RootOverlaps { .. }
        | Refusal::InUse { .. }
        | Refusal::Membership(_)
        | Refusal::Account(_) => Code::Conflict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_wire_name_of_its_own_and_only_unknown_outcomes_are_not_definite() {
        let names: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.row().0).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(ApiError::new(code, "").definite, code != Code::Unknown, "{code:?}");
        }
    }

    #[test]
    fn a_forgotten_reply_is_not_definite_and_worth_a_repeat_a_mismatch_is_definite_and_is_not() {
        let forgotten = ApiError::from(Refusal::RequestExpired);
        assert_eq!((forgotten.code, forgotten.definite, forgotten.code.row().3), (Code::Unknown, false, true));
        let mismatch = ApiError::from(Refusal::RevisionMismatch { expected: 1, actual: 2 });
        assert_eq!((mismatch.code, mismatch.definite, mismatch.code.row().3), (Code::RevisionMismatch, true, false));
        assert_eq!(mismatch.code.row().1, 412);
    }

    #[test]
    fn a_refused_field_is_named() {
        let error = ApiError::from(Refusal::Invalid("permissions: / is missing".into()));
        assert_eq!(error.field.as_deref(), Some("permissions"));
    }
}
