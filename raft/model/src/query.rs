//! Queries: what others may ask of the state.

use std::ops::Bound;
use std::sync::Arc;

use crate::index::{Referrer, SessionByAge};
use crate::*;

impl State {
    pub fn applied_index(&self) -> LogIndex {
        self.meta.applied_index
    }
    pub fn time(&self) -> LogTime {
        self.meta.time
    }
    /// The rolling hash of everything written up to the applied index: equal on all nodes.
    pub fn hash(&self) -> [u8; 32] {
        self.meta.hash
    }
    pub fn settings(&self) -> Option<&Arc<Settings>> {
        self.settings.as_ref()
    }
    pub fn node(&self, node: NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(&node)
    }
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.rows()
    }
    /// The largest node id ever given.
    pub fn last_node(&self) -> NodeId {
        self.settings.as_ref().map_or(NodeId(0), |settings| settings.last_node)
    }
    /// Whether the id was a node's and is no more: ids are not given twice.
    pub fn was_removed(&self, node: NodeId) -> bool {
        node.0 > 0 && node <= self.last_node() && self.node(node).is_none()
    }
    pub fn user(&self, username: &Username) -> Option<&Arc<User>> {
        self.users.get(username)
    }
    pub fn user_count(&self) -> usize {
        self.users.len()
    }
    /// Users in order of name, after `after` if given.
    pub fn users_after<'a>(&'a self, after: Option<&Username>) -> impl Iterator<Item = &'a Arc<User>> + use<'a> {
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.clone()));
        self.users.range((from, Bound::Unbounded))
    }
    /// A session's row, also while it waits to be swept after its epoch's end.
    pub fn session(&self, session: SessionId) -> Option<&Arc<Session>> {
        self.sessions.get(&session)
    }
    /// A session whose epoch is alive.
    pub fn live_session(&self, session: SessionId) -> Option<&Arc<Session>> {
        self.sessions.get(&session).filter(|_| self.epoch_alive(session.node, session.epoch))
    }
    pub fn account(&self, account: AccountId) -> Option<&Arc<Account>> {
        self.accounts.get(&account)
    }
    pub fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.accounts.rows()
    }
    pub fn account_by_root(&self, root: &Root) -> Option<&Arc<Account>> {
        self.indices.accounts_by_root.get(root).and_then(|account| self.accounts.get(account))
    }
    /// The users whose home is the account's root.
    pub fn users_of_account(&self, account: AccountId) -> impl Iterator<Item = &Arc<User>> {
        let from = Bound::Included((account, Username::least()));
        let members = self.indices.users_by_account.range((from, Bound::Unbounded));
        members.take_while(move |member| member.0 == account).filter_map(|member| self.users.get(&member.1))
    }
    pub fn storage(&self, name: &StorageName) -> Option<&Arc<Storage>> {
        self.storages.get(name)
    }
    pub fn storages(&self) -> impl Iterator<Item = &Arc<Storage>> {
        self.storages.rows()
    }
    pub fn secret(&self, name: &str) -> Option<&Arc<SealedSecret>> {
        self.secrets.get(&name.to_owned())
    }
    pub fn secrets(&self) -> impl Iterator<Item = &Arc<SealedSecret>> {
        self.secrets.rows()
    }
    pub fn token(&self, name: &str) -> Option<&Arc<Token>> {
        self.tokens.get(&name.to_owned())
    }
    pub fn tokens(&self) -> impl Iterator<Item = &Arc<Token>> {
        self.tokens.rows()
    }
    /// The token whose text has this SHA-256.
    pub fn token_by_hash(&self, hash: &[u8; 32]) -> Option<&Arc<Token>> {
        self.indices.tokens_by_hash.get(hash).and_then(|name| self.tokens.get(name))
    }
    /// An API key by its id.
    pub fn api_key(&self, id: &Name) -> Option<&Arc<Token>> {
        self.tokens.get(&Token::api_key_name(id))
    }
    /// An admin, a group, a folder or a role.
    pub fn kept<S: Spec>(&self, name: &Name) -> Option<&Arc<Kept<S>>> {
        S::table(self).get(name)
    }
    /// Records of a kind in order of name, after `after` if given.
    pub fn kept_after<'a, S: Spec>(
        &'a self,
        after: Option<&Name>,
    ) -> impl DoubleEndedIterator<Item = &'a Arc<Kept<S>>> + use<'a, S> {
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.clone()));
        S::table(self).range((from, Bound::Unbounded))
    }
    pub fn kept_count<S: Spec>(&self) -> usize {
        S::table(self).len()
    }
    /// Who names a group, a folder or a role.
    pub fn referrers<'a>(&'a self, kind: RecordKind, name: &Name) -> impl Iterator<Item = &'a Referrer> + use<'a> {
        let (from, name) = ((kind, name.clone(), Referrer::User(Username::least())), name.clone());
        let rows = self.indices.referrers.range((Bound::Included(from), Bound::Unbounded));
        rows.take_while(move |row| row.0 == kind && row.1 == name).map(|row| &row.2)
    }
    /// The answer of an outside caller's request, while it is kept.
    pub fn answer_of(&self, request: RequestId) -> Option<&Reply> {
        self.answered_requests.get(&request).map(|row| &row.reply)
    }
    /// Epochs that are over and of which rows remain.
    pub fn dead_epochs(&self) -> impl Iterator<Item = &Arc<DeadEpoch>> {
        self.dead_epochs.rows()
    }

    /// Whether the epoch is its node's current, living one.
    pub fn epoch_alive(&self, node: NodeId, epoch: Epoch) -> bool {
        self.nodes.get(&node).is_some_and(|row| row.alive && row.last_epoch == epoch)
    }

    /// Why a session must not go on: its own mark, its user's, its user gone, or its epoch over. `None`: it may.
    pub fn session_cut(&self, session: &Session) -> Option<CutReason> {
        if !self.epoch_alive(session.id.node, session.id.epoch) {
            return Some(CutReason::EpochEnded);
        }
        self.session_mark(session)
    }

    /// As `session_cut`, for a session whose epoch is known to be alive.
    pub(crate) fn session_mark(&self, session: &Session) -> Option<CutReason> {
        if session.cut.is_some() {
            return session.cut;
        }
        match self.users.get(&session.username) {
            Some(user) if user.incarnation == session.incarnation => user.cuts(session.opened_index),
            _ => Some(CutReason::UserDeleted),
        }
    }

    /// The living sessions of a user name, node by node; cut ones that are not closed yet included.
    pub fn user_sessions<'a>(&'a self, username: &Username) -> impl Iterator<Item = &'a Arc<Session>> + use<'a> {
        let name = username.clone();
        self.user_slots(username).flat_map(move |(node, epoch, _)| self.by_age(&name, node, epoch))
    }

    /// At most `count` living sessions of a user, newest first.
    pub(crate) fn newest_sessions(&self, username: &Username, count: usize) -> Vec<Arc<Session>> {
        let epochs = self.user_slots(username);
        let found = epochs.flat_map(|(node, epoch, _)| self.by_age(username, node, epoch).rev().take(count));
        let mut sessions: Vec<_> = found.cloned().collect();
        sessions.sort_by_key(|row| std::cmp::Reverse((row.opened_index, row.id)));
        sessions.truncate(count);
        sessions
    }

    /// At most `count` living sessions of a user, oldest first.
    pub(crate) fn oldest_sessions(&self, username: &Username, count: usize) -> Vec<Arc<Session>> {
        let epochs = self.user_slots(username);
        let found = epochs.flat_map(|(node, epoch, _)| self.by_age(username, node, epoch).take(count));
        let mut sessions: Vec<_> = found.cloned().collect();
        sessions.sort_by_key(|row| (row.opened_index, row.id));
        sessions.truncate(count);
        sessions
    }

    fn by_age<'a>(
        &'a self,
        username: &Username,
        node: NodeId,
        epoch: Epoch,
    ) -> impl DoubleEndedIterator<Item = &'a Arc<Session>> + use<'a> {
        let key = |index: LogIndex, number: u64| -> SessionByAge { (username.clone(), node, epoch, index, number) };
        let ids = self.indices.sessions_by_age.range(key(0, 0)..=key(LogIndex::MAX, u64::MAX));
        ids.filter_map(move |key| self.sessions.get(&SessionId { node, epoch, number: key.4 }))
    }

    /// All sessions of a node's living epoch.
    pub fn sessions_of_node(&self, node: NodeId) -> impl Iterator<Item = &Arc<Session>> {
        let alive = self.nodes.get(&node).filter(|row| row.alive);
        alive.into_iter().flat_map(move |row| self.sessions_of_epoch(node, row.last_epoch))
    }

    /// All rows of an epoch, dead or alive.
    pub(crate) fn sessions_of_epoch(&self, node: NodeId, epoch: Epoch) -> impl Iterator<Item = &Arc<Session>> {
        let id = |number| SessionId { node, epoch, number };
        self.sessions.range(id(0)..=id(u64::MAX))
    }

    /// All sessions of living epochs.
    pub fn live_sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.nodes.rows().flat_map(|node| self.sessions_of_node(node.id))
    }

    /// Where a user's living sessions are: node, epoch, counts. One row per node.
    pub fn user_slots<'a>(&'a self, username: &Username) -> impl Iterator<Item = (NodeId, Epoch, SlotCount)> + use<'a> {
        let from = (username.clone(), NodeId(0), Epoch(0));
        let to = (username.clone(), NodeId(u64::MAX), Epoch(u64::MAX));
        let rows = self.indices.slots.range(from..=to).map(|((_, node, epoch), count)| (*node, *epoch, *count));
        rows.filter(|(node, epoch, _)| self.epoch_alive(*node, *epoch))
    }

    /// Slots that living sessions of the user hold.
    pub fn slots_in_use(&self, username: &Username) -> u32 {
        self.user_slots(username).map(|(_, _, count)| count.slots).sum()
    }

    /// Nodes with sessions of the user that are cut and not closed yet; a look at the oldest of each node is enough
    /// for what a pointer cut.
    pub(crate) fn nodes_with_cuts(&self, username: &Username) -> Vec<NodeId> {
        let oldest_is_cut = |node, epoch| {
            self.by_age(username, node, epoch).next().is_some_and(|oldest| self.session_mark(oldest).is_some())
        };
        self.user_slots(username)
            .filter(|(node, epoch, _)| oldest_is_cut(*node, *epoch))
            .map(|(node, ..)| node)
            .collect()
    }

    /// Nodes with living sessions of the user.
    pub fn nodes_of_user(&self, username: &Username) -> Vec<NodeId> {
        self.user_slots(username).map(|(node, _, _)| node).collect()
    }
}

impl User {
    /// Whether the user's pointer cuts a session that was opened at that index.
    pub fn cuts(&self, opened_index: LogIndex) -> Option<CutReason> {
        let cut = opened_index <= self.sessions_cut_through;
        cut.then(|| self.cut_reason.unwrap_or(CutReason::UserChanged))
    }

    /// Whether the user has expired at that time.
    pub fn expired(&self, wall: WallTime) -> bool {
        self.expiration_date != 0 && self.expiration_date <= wall.0
    }
}
