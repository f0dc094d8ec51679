//! Commands of the records that administration keeps by name, and of the tokens that belong to admins.

use serde::{Deserialize, Serialize};

use crate::{LogIndex, Name, NodeId};

/// On which condition a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expected {
    /// It is created.
    Absent,
    /// It is replaced, whatever it holds.
    Present,
    /// It is replaced if nobody has changed it since.
    Revision(LogIndex),
}

impl Expected {
    /// Of a replacement: conditional or not.
    pub fn of(revision: Option<LogIndex>) -> Self {
        revision.map_or(Expected::Present, Expected::Revision)
    }
}

/// Creates a record or replaces all that callers say of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put<S> {
    pub name: Name,
    pub expected: Expected,
    pub spec: S,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delete {
    pub name: Name,
    pub expected_revision: Option<LogIndex>,
}

/// Says in the history what an administrator did beside the log, and answers for it under its request id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// A dump was loaded to its end.
    DumpLoaded {
        records: u64,
    },
    /// Leadership is asked to move: to that node, or to any.
    LeadershipMoves {
        to: Option<NodeId>,
    },
    NodeDrains {
        node: NodeId,
    },
}

/// Makes the token of a login, after the password verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssueToken {
    pub admin: Name,
    /// The admin's revision at which the password verified.
    pub revision: LogIndex,
    /// SHA-256 of the token's text.
    pub hash: [u8; 32],
    /// Milliseconds since the epoch.
    pub expires_at: u64,
}

/// Makes an API key, or changes what is said of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutApiKey {
    pub id: Name,
    pub expected: Expected,
    /// SHA-256 of the key's text; of a new one only.
    pub hash: Option<[u8; 32]>,
    pub label: String,
    pub description: String,
    /// Whom it acts for; `None`: the admin that the caller names with the key, if that one allows it.
    pub admin: Option<Name>,
    /// Milliseconds since the epoch, 0 = never.
    pub expires_at: u64,
}
