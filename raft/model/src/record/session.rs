//! A session: one authenticated connection with the slots it holds.

use serde::{Deserialize, Serialize};

use crate::{AccountId, Amount, Limits, LogIndex, LogTime, SessionId, Username, WallTime};

/// Why a session was ended by a command. Shown to the client, in events and in logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CutReason {
    UserDisabled,
    UserDeleted,
    UserChanged,
    CredentialChanged,
    SessionLimitLowered,
    QuotaLowered,
    Killed,
    /// Its node's lease ended, or the node registered again.
    EpochEnded,
}

/// A session as the log holds it. It is live while its epoch is its node's current one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub id: SessionId,
    pub username: Username,
    pub incarnation: LogIndex,
    pub credential_revision: LogIndex,
    /// The account of the user's home at the time of the open.
    pub account: AccountId,
    pub opened_index: LogIndex,
    pub opened_at: LogTime,
    pub opened_wall: WallTime,
    /// `address:port` of the client.
    pub remote: String,
    /// `SFTP`, `SCP` …
    pub protocol: String,
    /// `password` or `publickey`.
    pub method: String,
    /// At least 1; one more for each file-transfer channel beyond the first that was open at the same time.
    pub slots: u32,
    /// Set by a command of its own (kill, lowered limit); `User::sessions_cut_through` cuts too.
    pub cut: Option<CutReason>,
    /// Granted with the open, at its index: the node takes it up when it sees this row.
    pub first_grant: Option<FirstGrant>,
}

/// Room that came with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstGrant {
    pub limits: Limits,
    pub amount: Amount,
}
