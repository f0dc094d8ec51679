//! How a verb failed, and the exit code that says so to scripts.

use std::process::ExitCode;

use tonic::{Code, Status};

#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    /// The change may have happened.
    pub(super) unknown: bool,
    text: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

pub(super) const USAGE: u8 = 2;
pub(super) const NOT_FOUND: u8 = 3;
pub(super) const CONFLICT: u8 = 4;
pub(super) const NO_QUORUM: u8 = 5;

impl Failure {
    pub(super) fn usage(text: impl Into<String>) -> Failure {
        Failure { code: USAGE, unknown: false, text: text.into() }
    }
    pub(super) fn not_found(text: impl Into<String>) -> Failure {
        Failure { code: NOT_FOUND, unknown: false, text: text.into() }
    }
    pub(super) fn other(text: impl Into<String>) -> Failure {
        Failure { code: 1, unknown: false, text: text.into() }
    }
    #[cfg(test)]
    pub(super) fn code(&self) -> u8 {
        self.code
    }
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
    /// Says how to ask again for a change whose outcome is not known.
    pub(super) fn of_change(status: Status, request_id: &str) -> Failure {
        let again = format!("run it again with --request-id {request_id}, which does nothing twice");
        Failure::of_secret(status, &again)
    }
    /// The same of a change that makes a secret: what was made is lost, and the same request would not make it again.
    pub(super) fn of_secret(status: Status, again: &str) -> Failure {
        let unknown = status.code() == Code::DeadlineExceeded || is_transport(&status);
        let mut failure = Failure::from(status);
        failure.unknown = unknown;
        if unknown {
            failure.text = format!("{}; it may have happened: {again}", failure.text);
        }
        failure
    }
}

/// The answer was lost on the way: tonic makes such statuses itself, out of a transport error.
fn is_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        let code = match status.code() {
            Code::InvalidArgument | Code::OutOfRange => USAGE,
            Code::NotFound => NOT_FOUND,
            Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => CONFLICT,
            Code::Unavailable | Code::DeadlineExceeded if !is_transport(&status) => NO_QUORUM,
            _ => 1,
        };
        Failure { code, unknown: false, text: status.message().to_owned() }
    }
}
