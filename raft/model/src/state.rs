//! The replicated state: tables, indices, history. A clone is a snapshot and costs next to nothing.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::history::History;
use crate::index::Indices;
use crate::table::Table;
use crate::*;

/// Everything the cluster knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub(crate) meta: Meta,
    pub(crate) settings: Option<Arc<Settings>>,
    pub(crate) nodes: Table<Node>,
    pub(crate) users: Table<User>,
    pub(crate) sessions: Table<Session>,
    pub(crate) accounts: Table<Account>,
    pub(crate) storages: Table<Storage>,
    pub(crate) secrets: Table<SealedSecret>,
    pub(crate) tokens: Table<Token>,
    pub(crate) answered_requests: Table<AnsweredRequest>,
    pub(crate) answered_numbers: Table<AnsweredNumber>,
    pub(crate) dead_epochs: Table<DeadEpoch>,
    pub(crate) admins: Table<Admin>,
    pub(crate) groups: Table<Group>,
    pub(crate) folders: Table<Folder>,
    pub(crate) roles: Table<Role>,
    pub(crate) history: History,
    pub(crate) indices: Indices,
}

/// What the state holds once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub applied_index: LogIndex,
    pub time: LogTime,
    /// Rolling hash of all rows ever written.
    pub hash: [u8; 32],
    /// Index of the last registration that was taken: an epoch is an index, so an entry takes one.
    pub last_registration: LogIndex,
    pub last_account: AccountId,
    /// Request ids at or below are not remembered.
    pub request_floor: RequestId,
}

/// What applying one entry gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub index: LogIndex,
    /// One reply per command of the entry, in order.
    pub replies: Vec<Reply>,
    pub events: Vec<Event>,
    pub effects: Vec<Effect>,
    /// Table rows read for writing or written, sweeps included; at most 20,000 for entries of up to 256 commands.
    pub rows_touched: u64,
    /// The most that one command of the entry touched; at most 2,000.
    pub most_rows_by_a_command: u64,
}
