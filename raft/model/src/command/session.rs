//! Commands of sessions and slots (`PROTOCOL.md` 2).

use serde::{Deserialize, Serialize};

use crate::{Amount, LogIndex, SessionId, Username};

/// Takes a slot: the one commit of a login. Proposed by a node under its epoch, after the credential verified.
/// Its id is `CommandId::Node` and its number is the session's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSession {
    pub username: Username,
    /// As read when the credential was verified; refused as stale if either moved.
    pub incarnation: LogIndex,
    pub credential_revision: LogIndex,
    pub remote: String,
    pub protocol: String,
    pub method: String,
    /// Room wanted with the session where the account is limited: saves the first upload a round trip. Zero: none.
    pub ahead: Amount,
}

/// One more slot for a further file-transfer channel of the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddSlot {
    pub session: SessionId,
}

/// Gives all slots of a connection back. Remembered if it comes before its open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseSession {
    pub session: SessionId,
    /// For the event: why it ended and what it moved.
    pub reason: String,
    pub bytes_uploaded: u64,
    pub bytes_downloaded: u64,
}

/// Ends a session by an administrator's wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillSession {
    pub session: SessionId,
}
