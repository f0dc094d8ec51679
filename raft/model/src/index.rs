//! Indices: what can be derived from the tables and is kept because apply must not search.

use imbl::{OrdMap, OrdSet};

use crate::{Account, AccountId, Epoch, LogIndex, NodeId, Root, Session, User, Username};

/// Sessions of one user in one epoch of a node, dead epochs included until swept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotCount {
    pub sessions: u32,
    pub slots: u32,
    /// Slots of sessions that carry a mark of their own.
    pub marked_slots: u32,
}

/// How many users have an account's root as their home, and how many of them with a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AccountUsers {
    pub users: u32,
    pub limited: u32,
}

/// A user's session by age within an epoch: name, node, epoch, index of its open, number.
pub(crate) type SessionByAge = (Username, NodeId, Epoch, LogIndex, u64);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Indices {
    pub sessions_by_age: OrdSet<SessionByAge>,
    pub slots: OrdMap<(Username, NodeId, Epoch), SlotCount>,
    pub accounts_by_root: OrdMap<Root, AccountId>,
    pub users_by_account: OrdSet<(AccountId, Username)>,
    pub account_users: OrdMap<AccountId, AccountUsers>,
    /// Roots that are some user's home, and those of them with a limited user.
    pub used_roots: OrdMap<Root, AccountId>,
    pub limited_roots: OrdMap<Root, AccountId>,
}

impl Indices {
    pub fn session(&mut self, before: Option<&Session>, after: Option<&Session>) {
        if let Some(row) = before {
            self.count_slots(row, u32::wrapping_sub);
        }
        if let Some(row) = after {
            self.count_slots(row, u32::wrapping_add);
        }
        match (before, after) {
            (None, Some(row)) => _ = self.sessions_by_age.insert(by_age(row)),
            (Some(row), None) => _ = self.sessions_by_age.remove(&by_age(row)),
            _ => {}
        }
    }

    fn count_slots(&mut self, row: &Session, change: fn(u32, u32) -> u32) {
        let key = (row.username.clone(), row.id.node, row.id.epoch);
        let mut count = self.slots.get(&key).copied().unwrap_or_default();
        count.sessions = change(count.sessions, 1);
        count.slots = change(count.slots, row.slots);
        if row.cut.is_some() {
            count.marked_slots = change(count.marked_slots, row.slots);
        }
        if count == SlotCount::default() {
            self.slots.remove(&key);
        } else {
            self.slots.insert(key, count);
        }
    }

    pub fn user(&mut self, before: Option<&User>, after: Option<&User>) {
        let place = |user: &User| (user.account, user.limits().is_none());
        if before.map(place) == after.map(place) {
            return;
        }
        if let Some(user) = before {
            self.users_by_account.remove(&(user.account, user.username.clone()));
            self.count_user(user, u32::wrapping_sub);
        }
        if let Some(user) = after {
            self.users_by_account.insert((user.account, user.username.clone()));
            self.count_user(user, u32::wrapping_add);
        }
    }

    fn count_user(&mut self, user: &User, change: fn(u32, u32) -> u32) {
        let mut count = self.account_users.get(&user.account).copied().unwrap_or_default();
        count.users = change(count.users, 1);
        if !user.limits().is_none() {
            count.limited = change(count.limited, 1);
        }
        if count.users == 0 {
            self.account_users.remove(&user.account);
        } else {
            self.account_users.insert(user.account, count);
        }
        note(&mut self.used_roots, user, count.users > 0);
        note(&mut self.limited_roots, user, count.limited > 0);
    }

    /// An account's root never changes.
    pub fn account(&mut self, before: Option<&Account>, after: Option<&Account>) {
        match (before, after) {
            (None, Some(account)) => _ = self.accounts_by_root.insert(account.root.clone(), account.id),
            (Some(account), None) => _ = self.accounts_by_root.remove(&account.root),
            _ => {}
        }
    }
}

fn note(roots: &mut OrdMap<Root, AccountId>, user: &User, present: bool) {
    if !present {
        roots.remove(&user.home);
    } else if !roots.contains_key(&user.home) {
        roots.insert(user.home.clone(), user.account);
    }
}

fn by_age(row: &Session) -> SessionByAge {
    (row.username.clone(), row.id.node, row.id.epoch, row.opened_index, row.id.number)
}
