//! The replicated state and `apply`.

use std::sync::Arc;

use imbl::OrdMap;

use crate::*;

/// Everything the cluster knows, in persistent maps: a clone is a snapshot and costs next to nothing.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub(crate) applied_index: LogIndex,
    pub(crate) time: LogTime,
    pub(crate) settings: Option<Arc<Settings>>,
    pub(crate) nodes: OrdMap<NodeId, Arc<Node>>,
    pub(crate) users: OrdMap<Username, Arc<User>>,
    pub(crate) sessions: OrdMap<SessionId, Arc<Session>>,
    pub(crate) accounts: OrdMap<AccountId, Arc<Account>>,
    pub(crate) storages: OrdMap<StorageName, Arc<Storage>>,
    pub(crate) secrets: OrdMap<String, Arc<SealedSecret>>,
    pub(crate) tokens: OrdMap<String, Arc<Token>>,
}

/// What applying one entry gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub index: LogIndex,
    /// One reply per command of the entry, in order.
    pub replies: Vec<Reply>,
    pub events: Vec<Event>,
    pub effects: Vec<Effect>,
    /// Table rows read for writing or written; bounded (2,000 per command, 20,000 per entry).
    pub rows_touched: u64,
}

impl State {
    /// Applies one entry. Deterministic; a command that is refused changes nothing but is answered.
    pub fn apply(&mut self, index: LogIndex, entry: &Entry) -> Applied {
        let _ = entry;
        self.applied_index = index;
        Applied { index, ..Applied::default() }
    }

    pub fn applied_index(&self) -> LogIndex {
        self.applied_index
    }
    pub fn time(&self) -> LogTime {
        self.time
    }
    pub fn settings(&self) -> Option<&Arc<Settings>> {
        self.settings.as_ref()
    }
    pub fn node(&self, node: NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(&node)
    }
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }
    pub fn user(&self, username: &Username) -> Option<&Arc<User>> {
        self.users.get(username)
    }
    /// Users in order of name, after `after` if given.
    pub fn users_after<'a>(&'a self, after: Option<&Username>) -> impl Iterator<Item = &'a Arc<User>> + use<'a> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.clone()));
        self.users.range((from, Bound::Unbounded)).map(|(_, user)| user)
    }
    pub fn session(&self, session: SessionId) -> Option<&Arc<Session>> {
        self.sessions.get(&session)
    }
    pub fn account(&self, account: AccountId) -> Option<&Arc<Account>> {
        self.accounts.get(&account)
    }
    pub fn storage(&self, name: &StorageName) -> Option<&Arc<Storage>> {
        self.storages.get(name)
    }
    pub fn secret(&self, name: &str) -> Option<&Arc<SealedSecret>> {
        self.secrets.get(name)
    }
    pub fn token(&self, name: &str) -> Option<&Arc<Token>> {
        self.tokens.get(name)
    }
    pub fn tokens(&self) -> impl Iterator<Item = &Arc<Token>> {
        self.tokens.values()
    }
    /// Whether the epoch is its node's current, living one.
    pub fn epoch_alive(&self, node: NodeId, epoch: Epoch) -> bool {
        self.nodes.get(&node).is_some_and(|row| row.alive && row.last_epoch == epoch)
    }
    /// Why a session must not go on: its own mark, its user's, its user gone, or its epoch over. `None`: it may.
    pub fn session_cut(&self, session: &Session) -> Option<CutReason> {
        let _ = session;
        None
    }
}
