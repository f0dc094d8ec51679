//! SFTP for workloads: each step with a time limit, and with the certainty of its failure.

use std::net::SocketAddr;
use std::time::Duration;

use russh_sftp::client::error::Error;
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};
use serde_json::{Value, json};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::client::{NoLogin, Sftp};
use crate::history::Open;

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The credential is wrong, or the user may not log in.
    Denied,
    /// As many sessions as allowed.
    Limit(String),
    /// No quorum, no answer, no connection.
    Unavailable(String),
}

/// Logs in as the workload's user, with the password that belongs to its name.
pub async fn login(address: SocketAddr, user: &str, limit: Duration) -> Result<Sftp, Refused> {
    login_with(address, user, &crate::lab::password_of(user), limit).await
}

pub async fn login_with(address: SocketAddr, user: &str, password: &str, limit: Duration) -> Result<Sftp, Refused> {
    match timeout(limit, Sftp::login_at(address, user, password)).await {
        Ok(Ok(Ok(sftp))) => Ok(sftp),
        Ok(Ok(Err(NoLogin::Denied))) => Err(Refused::Denied),
        // The refusal by limit, as the model words it: "NAME has N of M sessions".
        Ok(Ok(Err(NoLogin::Disconnected(text)))) if text.contains(" sessions") && text.contains(" of ") => {
            Err(Refused::Limit(text))
        }
        Ok(Ok(Err(NoLogin::Disconnected(text)))) => Err(Refused::Unavailable(text)),
        Ok(Err(error)) => Err(Refused::Unavailable(format!("{error:#}"))),
        Err(_) => Err(Refused::Unavailable(format!("no session within {limit:?}"))),
    }
}

/// How a change of a file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    Done,
    /// The server said no before anything could be visible.
    Failed(String),
    /// It may have happened, or may happen yet.
    Unknown(String),
    /// CLOSE was answered with OK although a WRITE had failed, with its text.
    ClosedAnyway(String),
}

impl Ended {
    /// Writes it into the history.
    pub fn close(&self, open: Open) {
        match self {
            Ended::Done => open.ok(Value::Null),
            Ended::Failed(text) => open.fail(text.clone()),
            Ended::Unknown(text) => open.info(text.clone()),
            Ended::ClosedAnyway(text) => open.ok(json!({"after_failed_write": text})),
        };
    }
}

/// What a status says that is not OK; anything else leaves the connection of no use.
fn status(error: Error) -> Result<String, String> {
    match error {
        Error::Status(status) => Ok(format!("{:?}: {}", status.status_code, status.error_message)),
        other => Err(other.to_string()),
    }
}

/// Uploads a content in chunks, each awaited, and closes; `cut_after` chunks it stops without a close.
pub async fn upload(sftp: &Sftp, path: &str, content: &[u8], cut_after: Option<usize>, limit: Duration) -> Ended {
    let steps = async {
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
        let handle = match sftp.raw.open(path, flags, FileAttributes::empty()).await.map_err(status) {
            Ok(handle) => handle.handle,
            Err(Ok(text)) => return Ended::Failed(text),
            Err(Err(text)) => return Ended::Failed(format!("cut before its close: {text}")),
        };
        let mut failed = None;
        for (number, chunk) in content.chunks(CHUNK).enumerate() {
            if cut_after.is_some_and(|after| number >= after) {
                return Ended::Failed("cut by the client".into());
            }
            match sftp.raw.write(&handle, (number * CHUNK) as u64, chunk.to_vec()).await.map_err(status) {
                Ok(_) => {}
                Err(Ok(text)) => {
                    failed = Some(text);
                    break;
                }
                Err(Err(text)) => return Ended::Failed(format!("cut before its close: {text}")),
            }
        }
        match (failed, sftp.raw.close(handle).await.map_err(status)) {
            (None, Ok(_)) => Ended::Done,
            (Some(text), Err(_)) => Ended::Failed(text),
            (Some(text), Ok(_)) => Ended::ClosedAnyway(text),
            (None, Err(Ok(text) | Err(text))) => Ended::Unknown(text),
        }
    };
    timeout(limit, steps).await.unwrap_or_else(|_| Ended::Unknown(format!("no answer within {limit:?}")))
}

/// Bytes of one write.
pub const CHUNK: usize = 64 << 10;

/// Removes a file; absent is a failure for certain.
pub async fn remove(sftp: &Sftp, path: &str, limit: Duration) -> Ended {
    gone(timeout(limit, sftp.raw.remove(path)).await.map(|done| done.map(|_| ())), limit)
}

fn gone(answer: Result<Result<(), Error>, Elapsed>, limit: Duration) -> Ended {
    match answer {
        Ok(Ok(())) => Ended::Done,
        Ok(Err(Error::Status(status))) if status.status_code == StatusCode::NoSuchFile => {
            Ended::Failed("no such file".into())
        }
        Ok(Err(error)) => Ended::Unknown(error.to_string()),
        Err(_) => Ended::Unknown(format!("no answer within {limit:?}")),
    }
}

/// Moves a file to a name that nobody else uses; absent is a failure for certain.
pub async fn rename(sftp: &Sftp, from: &str, to: &str, limit: Duration) -> Ended {
    gone(timeout(limit, sftp.raw.rename(from, to)).await.map(|done| done.map(|_| ())), limit)
}

/// The whole file; `None` if there is none.
pub async fn read(sftp: &Sftp, path: &str, limit: Duration) -> Result<Option<Vec<u8>>, String> {
    let steps = async {
        let handle = match sftp.raw.open(path, OpenFlags::READ, FileAttributes::empty()).await {
            Ok(handle) => handle.handle,
            Err(Error::Status(status)) if status.status_code == StatusCode::NoSuchFile => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let mut content = Vec::new();
        loop {
            match sftp.raw.read(&handle, content.len() as u64, 128 << 10).await {
                Ok(data) => content.extend_from_slice(&data.data),
                Err(Error::Status(status)) if status.status_code == StatusCode::Eof => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        sftp.raw.close(handle).await.map_err(|error| error.to_string())?;
        Ok(Some(content))
    };
    timeout(limit, steps).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}
