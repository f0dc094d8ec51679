//! Records of administration that are kept by name: what they have in common. `Kept<S>` is what callers say (`S`) with what the
//! cluster adds.

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::command::{Command, Delete, Put};
use crate::index::{Indices, Referrer};
use crate::table::{Row, Table};
use crate::{LogIndex, Name, State};

/// The kinds of records of administration, users and tokens included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RecordKind {
    User,
    Admin,
    Group,
    Folder,
    Role,
    Token,
    ApiKey,
}

impl RecordKind {
    pub const ALL: [RecordKind; 7] = [
        RecordKind::User,
        RecordKind::Admin,
        RecordKind::Group,
        RecordKind::Folder,
        RecordKind::Role,
        RecordKind::Token,
        RecordKind::ApiKey,
    ];

    /// SFTPGo's word for the type.
    pub fn word(self) -> &'static str {
        match self {
            RecordKind::User => "user",
            RecordKind::Admin => "admin",
            RecordKind::Group => "group",
            RecordKind::Folder => "folder",
            RecordKind::Role => "role",
            RecordKind::Token => "token",
            RecordKind::ApiKey => "api_key",
        }
    }
}

/// What a caller says of a record.
pub trait Spec: Clone + PartialEq + Debug + Serialize + DeserializeOwned + Send + Sync + 'static {
    const KIND: RecordKind;
    /// Number of the table.
    const TABLE: u8;

    /// Field names with values as `change::Shown` shows them, for `change::changes` alone: it redacts the secrets.
    fn fields(&self) -> Vec<(&'static str, String)>;
    /// Records that this one names: they cannot be deleted meanwhile.
    fn references(&self) -> Vec<(RecordKind, Name)>;
    fn referrer(name: &Name) -> Referrer;
    fn put(put: Put<Self>) -> Command;
    fn delete(delete: Delete) -> Command;
    fn table(state: &State) -> &Table<Kept<Self>>;
    fn table_mut(state: &mut State) -> &mut Table<Kept<Self>>;
}

/// A record as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept<S> {
    pub name: Name,
    /// Log index of the creation: tells it from an earlier one of the same name.
    pub incarnation: LogIndex,
    /// Log index of the last change.
    pub revision: LogIndex,
    /// Milliseconds since the epoch.
    pub created_at: u64,
    pub updated_at: u64,
    pub spec: S,
}

impl<S: Spec> Row for Kept<S> {
    type Key = Name;
    const TABLE: u8 = S::TABLE;
    /// What it names at most: a group's folders.
    const INDEX_ROWS: u64 = 64;

    fn key(&self) -> Name {
        self.name.clone()
    }
    fn table(state: &State) -> &Table<Self> {
        S::table(state)
    }
    fn table_mut(state: &mut State) -> &mut Table<Self> {
        S::table_mut(state)
    }
    fn index(indices: &mut Indices, before: Option<&Self>, after: Option<&Self>) {
        let named = |row: &Self| (S::referrer(&row.name), row.spec.references());
        indices.references(before.map(named), after.map(named));
    }
}
