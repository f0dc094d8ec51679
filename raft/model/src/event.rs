//! Events: the public history, dense, ordered, chained by hash.

use serde::{Deserialize, Serialize};

use crate::command::Note;
use crate::{
    AccountId, CutReason, Epoch, FieldChange, LogIndex, NodeId, RecordKind, SessionId, StorageName, Username, WallTime,
};

/// One event with its place in the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Dense: 1, 2, 3 …
    pub number: u64,
    pub index: LogIndex,
    pub wall: WallTime,
    pub actor: String,
    pub fact: Fact,
    /// SHA-256 of the previous event's hash and this event's fields.
    pub hash: [u8; 32],
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    ClusterInitialised {
        cluster_id: String,
    },
    NodeAdded {
        node: NodeId,
        name: String,
    },
    NodeRemoved {
        node: NodeId,
        name: String,
    },
    JoinTokenMade,
    NodeUp {
        node: NodeId,
        epoch: Epoch,
    },
    NodeDown {
        node: NodeId,
        epoch: Epoch,
    },
    UserCreated {
        username: Username,
        changes: Vec<FieldChange>,
    },
    UserUpdated {
        username: Username,
        changes: Vec<FieldChange>,
    },
    UserDeleted {
        username: Username,
        changes: Vec<FieldChange>,
    },
    SessionOpened {
        session: SessionId,
        username: Username,
        remote: String,
    },
    SessionRefused {
        username: Username,
        remote: String,
        reason: String,
    },
    SessionCut {
        session: SessionId,
        username: Username,
        reason: CutReason,
    },
    SessionClosed {
        session: SessionId,
        username: Username,
        reason: String,
        bytes_uploaded: u64,
        bytes_downloaded: u64,
    },
    SecretChanged {
        name: String,
    },
    /// A record of administration other than a user: created, changed or deleted.
    RecordCreated {
        kind: RecordKind,
        name: String,
        changes: Vec<FieldChange>,
    },
    RecordUpdated {
        kind: RecordKind,
        name: String,
        changes: Vec<FieldChange>,
    },
    RecordDeleted {
        kind: RecordKind,
        name: String,
        changes: Vec<FieldChange>,
    },
    /// An admin was given a token for a password.
    AdminLoggedIn {
        admin: String,
        expires_at: u64,
    },
    StorageAdopted {
        storage: StorageName,
        storage_id: String,
    },
    AccountScanned {
        account: AccountId,
        bytes: u64,
        files: u64,
    },
    /// A scan of an account in use ended without a result; it stays marked.
    ScanGivenUp {
        account: AccountId,
        reason: String,
    },
    AccountMarked {
        account: AccountId,
        reason: String,
    },
    EpochFenced {
        account: AccountId,
        epoch: Epoch,
    },
    /// Nobody's home any more, nothing outstanding: its ledger is forgotten. What lies in the folder stays.
    AccountRemoved {
        account: AccountId,
        root: String,
    },
    /// What an administrator did beside the log.
    Noted(Note),
    /// An administrator asked for a scan.
    ScanAsked {
        account: AccountId,
        root: String,
        force: bool,
    },
}
