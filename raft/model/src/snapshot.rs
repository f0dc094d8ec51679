//! Snapshots: the whole state as a stream of bounded chunks, and back. What carries them (files, network) adds its own checksums.
//!
//! A chunk is a version byte, a section byte and postcard rows behind each other. The header comes first and counts the rows of
//! every section, so that a missing chunk is noticed; sections follow in order of their numbers.

use std::iter;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::history::EventsBefore;
use crate::state::Meta;
use crate::table::{self, Row};
use crate::*;

const V1: u8 = 1;
/// A chunk is closed once it has this many bytes. A row is at most 1 MiB less this.
const CHUNK: usize = 512 * 1024;
const HEADER: u8 = 0;
const EVENTS: u8 = 12;
const SECTIONS: usize = 24;

/// Why a snapshot cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("snapshot version {0} is newer than this program knows (1): start a newer program on this data")]
    NewerVersion(u8),
    #[error("snapshot is damaged: {0}")]
    Damaged(#[from] postcard::Error),
    #[error("snapshot is damaged: {0}")]
    Misplaced(&'static str),
}

#[derive(Serialize, Deserialize)]
struct Header {
    meta: Meta,
    settings: Option<Settings>,
    events_before: EventsBefore,
    /// Rows of each section.
    rows: [u64; SECTIONS],
}

impl State {
    /// The state in chunks of at most 1 MiB, made as they are taken.
    pub fn to_snapshot(&self) -> impl Iterator<Item = Vec<u8>> + Send + '_ {
        let mut rows = self.encoded_rows().peekable();
        let mut header = Some(self.header());
        iter::from_fn(move || {
            if let Some(header) = header.take() {
                return Some(encoded(vec![V1, HEADER], &header));
            }
            let (section, first) = rows.next()?;
            let mut chunk = vec![V1, section];
            chunk.extend_from_slice(&first);
            while let Some((_, row)) = rows.next_if(|(next, row)| *next == section && chunk.len() + row.len() <= CHUNK)
            {
                chunk.extend_from_slice(&row);
            }
            Some(chunk)
        })
    }

    /// Reads what `to_snapshot` gave, chunk by chunk.
    pub fn from_snapshot<C: AsRef<[u8]>>(chunks: impl IntoIterator<Item = C>) -> Result<State, SnapshotError> {
        let mut restore = Restore::default();
        for chunk in chunks {
            restore.chunk(chunk.as_ref())?;
        }
        restore.finish()
    }

    fn header(&self) -> Header {
        Header {
            meta: self.meta.clone(),
            settings: self.settings.as_deref().cloned(),
            events_before: self.history.before,
            rows: self.section_rows(),
        }
    }

    fn section_rows(&self) -> [u64; SECTIONS] {
        let tables = [
            self.nodes.len(),
            self.users.len(),
            self.sessions.len(),
            self.accounts.len(),
            self.storages.len(),
            self.secrets.len(),
            self.tokens.len(),
            self.answered_requests.len(),
            self.answered_numbers.len(),
            self.dead_epochs.len(),
        ];
        let mut rows = [0; SECTIONS];
        for (section, len) in tables.into_iter().enumerate() {
            rows[section + 1] = len as u64;
        }
        rows[usize::from(Admin::TABLE)] = self.admins.len() as u64;
        rows[usize::from(Group::TABLE)] = self.groups.len() as u64;
        rows[usize::from(Folder::TABLE)] = self.folders.len() as u64;
        rows[usize::from(Role::TABLE)] = self.roles.len() as u64;
        rows[usize::from(EVENTS)] = self.history.window.len() as u64;
        rows
    }

    fn encoded_rows(&self) -> impl Iterator<Item = (u8, Vec<u8>)> + Send + '_ {
        let events = self.history.window.values().map(|event| (EVENTS, encoded(Vec::new(), event)));
        rows_of::<Node>(self)
            .chain(rows_of::<User>(self))
            .chain(rows_of::<Session>(self))
            .chain(rows_of::<Account>(self))
            .chain(rows_of::<Storage>(self))
            .chain(rows_of::<SealedSecret>(self))
            .chain(rows_of::<Token>(self))
            .chain(rows_of::<AnsweredRequest>(self))
            .chain(rows_of::<AnsweredNumber>(self))
            .chain(rows_of::<DeadEpoch>(self))
            .chain(events)
            .chain(rows_of::<Admin>(self))
            .chain(rows_of::<Group>(self))
            .chain(rows_of::<Folder>(self))
            .chain(rows_of::<Role>(self))
    }
}

fn rows_of<R: Row>(state: &State) -> impl Iterator<Item = (u8, Vec<u8>)> + Send + '_ {
    R::table(state).rows().map(|row| (R::TABLE, encoded(Vec::new(), row)))
}

fn encoded(head: Vec<u8>, value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, head).expect("records hold no type that postcard cannot encode")
}

/// A state being read from a snapshot's chunks.
#[derive(Default)]
pub struct Restore {
    state: State,
    expected: Option<[u64; SECTIONS]>,
    section: u8,
}

impl Restore {
    /// Takes the next chunk.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<(), SnapshotError> {
        let (section, rows) = match chunk {
            [V1, section, rows @ ..] => (*section, rows),
            [version, ..] if *version > V1 => return Err(SnapshotError::NewerVersion(*version)),
            _ => return Err(SnapshotError::Misplaced("a chunk has no head")),
        };
        if (section == HEADER) != self.expected.is_none() {
            return Err(SnapshotError::Misplaced("the header must come first, once"));
        }
        if section < self.section {
            return Err(SnapshotError::Misplaced("sections are out of order"));
        }
        self.section = section;
        self.rows(section, rows)
    }

    /// The state, once all rows that the header promised have come.
    pub fn finish(self) -> Result<State, SnapshotError> {
        match self.expected {
            Some(expected) if expected == self.state.section_rows() => Ok(self.state),
            _ => Err(SnapshotError::Misplaced("rows are missing")),
        }
    }

    fn rows(&mut self, section: u8, rows: &[u8]) -> Result<(), SnapshotError> {
        match section {
            HEADER => self.header(rows),
            Node::TABLE => self.table::<Node>(rows),
            User::TABLE => self.table::<User>(rows),
            Session::TABLE => self.table::<Session>(rows),
            Account::TABLE => self.table::<Account>(rows),
            Storage::TABLE => self.table::<Storage>(rows),
            SealedSecret::TABLE => self.table::<SealedSecret>(rows),
            Token::TABLE => self.table::<Token>(rows),
            AnsweredRequest::TABLE => self.table::<AnsweredRequest>(rows),
            AnsweredNumber::TABLE => self.table::<AnsweredNumber>(rows),
            DeadEpoch::TABLE => self.table::<DeadEpoch>(rows),
            EVENTS => self.events(rows),
            Admin::TABLE => self.table::<Admin>(rows),
            Group::TABLE => self.table::<Group>(rows),
            Folder::TABLE => self.table::<Folder>(rows),
            Role::TABLE => self.table::<Role>(rows),
            _ => Err(SnapshotError::Misplaced("a section is unknown")),
        }
    }

    fn header(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let header: Header = postcard::from_bytes(bytes)?;
        self.state.meta = header.meta;
        self.state.settings = header.settings.map(Arc::new);
        self.state.history.before = header.events_before;
        self.expected = Some(header.rows);
        Ok(())
    }

    fn table<R: Row>(&mut self, mut rows: &[u8]) -> Result<(), SnapshotError> {
        while !rows.is_empty() {
            let (row, rest) = postcard::take_from_bytes::<R>(rows)?;
            table::restore(&mut self.state, Arc::new(row));
            rows = rest;
        }
        Ok(())
    }

    fn events(&mut self, mut rows: &[u8]) -> Result<(), SnapshotError> {
        while !rows.is_empty() {
            let (event, rest) = postcard::take_from_bytes::<Event>(rows)?;
            self.state.history.window.insert(event.number, Arc::new(event));
            rows = rest;
        }
        Ok(())
    }
}
