//! Tables: ordered persistent maps whose every write is counted and feeds the state hash.

use std::ops::RangeBounds;
use std::sync::Arc;

use imbl::OrdMap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::index::Indices;
use crate::{LogIndex, State};

/// A record that lives in a table of the state.
pub trait Row: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static {
    type Key: Ord + Clone + Serialize + Send + Sync;
    /// Stable number of the table in hashes and snapshots.
    const TABLE: u8;
    /// Rows of indices that a write of one row touches.
    const INDEX_ROWS: u64 = 0;

    fn key(&self) -> Self::Key;
    fn table(state: &State) -> &Table<Self>;
    fn table_mut(state: &mut State) -> &mut Table<Self>;
    /// Keeps the indices in step with a change of one row.
    fn index(_indices: &mut Indices, _before: Option<&Self>, _after: Option<&Self>) {}
}

/// Rows by key.
#[derive(Clone, Debug, PartialEq)]
pub struct Table<R: Row>(OrdMap<R::Key, Arc<R>>);

impl<R: Row> Default for Table<R> {
    fn default() -> Self {
        Table(OrdMap::new())
    }
}

impl<R: Row> Table<R> {
    pub fn get(&self, key: &R::Key) -> Option<&Arc<R>> {
        self.0.get(key)
    }
    pub fn len(&self) -> usize {
        self.0.len()
    }
    pub fn first(&self) -> Option<&Arc<R>> {
        self.0.get_min().map(|(_, row)| row)
    }
    pub fn rows(&self) -> impl Iterator<Item = &Arc<R>> {
        self.0.values()
    }
    /// Each row as `change` makes it, without those that it drops. Keys stay. Indices and hash are the caller's.
    pub fn rewritten(&self, change: impl Fn(&R) -> Option<R>) -> Self {
        Table(self.0.iter().filter_map(|(key, row)| Some((key.clone(), Arc::new(change(row)?)))).collect())
    }
    pub fn range<'a, B: RangeBounds<R::Key>>(
        &'a self,
        keys: B,
    ) -> impl DoubleEndedIterator<Item = &'a Arc<R>> + use<'a, R, B> {
        self.0.range(keys).map(|(_, row)| row)
    }
}

/// Counts the rows that applying an entry touches, and hashes those that it writes.
pub(crate) struct Meter {
    rows: u64,
    hasher: Sha256,
}

impl Meter {
    /// Chains to the hash before this entry.
    pub fn new(before: &[u8; 32], index: LogIndex) -> Self {
        Meter { rows: 0, hasher: Sha256::new().chain_update(before).chain_update(index.to_le_bytes()) }
    }
    pub fn rows(&self) -> u64 {
        self.rows
    }
    pub fn touch(&mut self, rows: u64) {
        self.rows += rows;
    }
    /// Notes a written (`Some`) or removed row.
    pub fn write(&mut self, table: u8, key: &impl Serialize, value: Option<&impl Serialize>) {
        self.rows += 1;
        let head = postcard::to_extend(key, vec![table, u8::from(value.is_some())]);
        let bytes = match value {
            None => head,
            Some(value) => head.and_then(|head| postcard::to_extend(value, head)),
        };
        let bytes = bytes.expect("records hold no type that postcard cannot encode");
        self.hasher.update((bytes.len() as u64).to_le_bytes());
        self.hasher.update(&bytes);
    }
    pub fn finish(self) -> [u8; 32] {
        self.hasher.finalize().into()
    }
}

/// Writes a row and its index entries.
pub(crate) fn put<R: Row>(state: &mut State, meter: &mut Meter, row: R) {
    let key = row.key();
    meter.write(R::TABLE, &key, Some(&row));
    meter.touch(R::INDEX_ROWS);
    restore(state, Arc::new(row));
}

/// Puts a row without counting: for snapshots.
pub(crate) fn restore<R: Row>(state: &mut State, row: Arc<R>) {
    let before = R::table_mut(state).0.insert(row.key(), Arc::clone(&row));
    R::index(&mut state.indices, before.as_deref(), Some(&row));
}

/// Removes a row and its index entries.
pub(crate) fn remove<R: Row>(state: &mut State, meter: &mut Meter, key: &R::Key) -> Option<Arc<R>> {
    let before = R::table_mut(state).0.remove(key)?;
    meter.write(R::TABLE, key, None::<&R>);
    meter.touch(R::INDEX_ROWS);
    R::index(&mut state.indices, Some(&before), None);
    Some(before)
}

macro_rules! row {
    ($record:ty, $table:literal, $field:ident, $key:ty, |$row:ident| $of:expr) => {
        impl Row for $record {
            row!(@body $table, $field, $key, |$row| $of);
        }
    };
    ($record:ty, $table:literal, $field:ident, $key:ty, |$row:ident| $of:expr, indexed by $index:path, $rows:literal) => {
        impl Row for $record {
            row!(@body $table, $field, $key, |$row| $of);
            const INDEX_ROWS: u64 = $rows;
            fn index(indices: &mut Indices, before: Option<&Self>, after: Option<&Self>) {
                $index(indices, before, after);
            }
        }
    };
    (@body $table:literal, $field:ident, $key:ty, |$row:ident| $of:expr) => {
        type Key = $key;
        const TABLE: u8 = $table;
        fn key(&self) -> $key {
            let $row = self;
            $of
        }
        fn table(state: &State) -> &Table<Self> {
            &state.$field
        }
        fn table_mut(state: &mut State) -> &mut Table<Self> {
            &mut state.$field
        }
    };
}

use crate::{
    Account, AccountId, AnsweredNumber, AnsweredRequest, DeadEpoch, Epoch, Node, NodeId, RequestId, SealedSecret,
    Session, SessionId, Storage, StorageName, Token, User, Username,
};

row!(Node, 1, nodes, NodeId, |row| row.id);
row!(User, 2, users, Username, |row| row.username.clone(), indexed by Indices::user, 12);
row!(Session, 3, sessions, SessionId, |row| row.id, indexed by Indices::session, 2);
row!(Account, 4, accounts, AccountId, |row| row.id, indexed by Indices::account, 1);
row!(Storage, 5, storages, StorageName, |row| row.name.clone());
row!(SealedSecret, 6, secrets, String, |row| row.name.clone());
row!(Token, 7, tokens, String, |row| row.name.clone(), indexed by Indices::token, 2);
row!(AnsweredRequest, 8, answered_requests, RequestId, |row| row.id);
row!(AnsweredNumber, 9, answered_numbers, (Epoch, u64), |row| (row.epoch, row.number));
row!(DeadEpoch, 10, dead_epochs, Epoch, |row| row.epoch);
