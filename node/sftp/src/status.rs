//! The one table from a failure to SFTP's status code and the text the client shows.

use bytes::Bytes;
use flotilla_session::Failure;
use flotilla_vfs::VfsError;

use crate::codec::{numbers::code, reply};

/// The answer to a failed request, or the reason to close the channel without one.
pub fn answer(id: u32, failure: &Failure) -> Result<Bytes, String> {
    if let Failure::SessionOver(reason) = failure {
        return Err(reason.clone());
    }
    if let Failure::Storage(VfsError::Stopped(stopped)) = failure {
        return Err(stopped.to_string());
    }
    Ok(reply::status(id, code_of(failure), &text_of(failure)))
}

fn code_of(failure: &Failure) -> u32 {
    match failure {
        Failure::NotFound => code::NO_SUCH_FILE,
        Failure::NotAllowed(_) | Failure::Denied => code::PERMISSION_DENIED,
        Failure::Unsupported(_) => code::OP_UNSUPPORTED,
        Failure::Storage(error) => code_of_storage(error),
        // Version 3 has no codes for these; CONNECTION_LOST and NO_CONNECTION must not be sent by a server.
        Failure::Exists
        | Failure::QuotaExceeded(_)
        | Failure::FileTooLarge { .. }
        | Failure::Invalid(_)
        | Failure::TooManyHandles
        | Failure::UploadFailed(_)
        | Failure::SessionOver(_)
        | Failure::Unavailable(_) => code::FAILURE,
    }
}

fn code_of_storage(error: &VfsError) -> u32 {
    use std::io::ErrorKind;
    match error {
        VfsError::NotFound | VfsError::NotDirectory | VfsError::LinkLoop => code::NO_SUCH_FILE,
        VfsError::Denied => code::PERMISSION_DENIED,
        VfsError::Unsupported(_) => code::OP_UNSUPPORTED,
        VfsError::Io(error) => match error.kind() {
            ErrorKind::NotFound => code::NO_SUCH_FILE,
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => code::PERMISSION_DENIED,
            _ => code::FAILURE,
        },
        _ => code::FAILURE,
    }
}

/// What happened, in words for the user. An I/O error's own text may name paths of the server: only its kind is told.
fn text_of(failure: &Failure) -> String {
    match failure {
        Failure::Storage(VfsError::Io(error)) => format!("storage error: {}", error.kind()),
        Failure::Storage(VfsError::StorageRefused(_)) => "storage is not usable".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_in(reply: &[u8]) -> u32 {
        u32::from_be_bytes(reply[9..13].try_into().unwrap())
    }

    #[test]
    fn a_quota_refusal_reaches_the_client_with_its_numbers() {
        let reply = answer(7, &Failure::QuotaExceeded("quota: 10 of 10 bytes used".to_owned())).unwrap();
        assert_eq!(code_in(&reply), code::FAILURE);
        assert!(reply.windows(26).any(|text| text == b"quota: 10 of 10 bytes used"));
        assert!(reply.ends_with(b"\0\0\0\x02en"));
    }

    #[test]
    fn an_ended_session_is_answered_by_nothing() {
        assert!(answer(7, &Failure::SessionOver("kicked".to_owned())).is_err());
        assert!(answer(7, &Failure::Storage(VfsError::Stopped(flotilla_vfs::Stopped))).is_err());
    }

    #[test]
    fn an_io_error_does_not_tell_paths_of_the_server() {
        let error = std::io::Error::other("/srv/secret: went away");
        let reply = answer(7, &Failure::Storage(VfsError::Io(error))).unwrap();
        assert!(!reply.windows(6).any(|text| text == b"secret"));
    }
}
