//! A quota account: the ledger of one root. Owned by the escrow rules (`PROTOCOL.md` 4 to 7).

use serde::{Deserialize, Serialize};

use crate::{AccountId, LogIndex, Root};

/// Bytes and files, signed: usage may pass below zero while reports overtake each other and is shown as max(0, used).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    pub bytes: i64,
    pub files: i64,
}

/// The ledger of one root. Every user whose home is this root shares it, each held to its own limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub id: AccountId,
    pub root: Root,
    pub used: Amount,
    /// What is stored may differ from `used`: a scan is wanted.
    pub marked: bool,
    pub revision: LogIndex,
}
