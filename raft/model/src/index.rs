//! Indices: what can be derived from the tables and is kept because apply must not search.

use imbl::{OrdMap, OrdSet};

use crate::{Account, AccountId, Epoch, LogIndex, Name, NodeId, RecordKind, Root, Session, Token, User, Username};

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
pub struct AccountUsers {
    pub users: u32,
    pub limited: u32,
}

/// A user's session by age within an epoch: name, node, epoch, index of its open, number.
pub(crate) type SessionByAge = (Username, NodeId, Epoch, LogIndex, u64);

/// A record that names another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Referrer {
    User(Username),
    Admin(Name),
    Group(Name),
    Folder(Name),
    Role(Name),
}

impl std::fmt::Display for Referrer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Referrer::User(name) => write!(f, "user {name}"),
            Referrer::Admin(name) => write!(f, "admin {name}"),
            Referrer::Group(name) => write!(f, "group {name}"),
            Referrer::Folder(name) => write!(f, "folder {name}"),
            Referrer::Role(name) => write!(f, "role {name}"),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indices {
    pub sessions_by_age: OrdSet<SessionByAge>,
    pub slots: OrdMap<(Username, NodeId, Epoch), SlotCount>,
    pub accounts_by_root: OrdMap<Root, AccountId>,
    pub users_by_account: OrdSet<(AccountId, Username)>,
    pub account_users: OrdMap<AccountId, AccountUsers>,
    /// How many of an account's users have a role.
    pub role_users: OrdMap<(AccountId, Name), u32>,
    /// Roots that are some user's home, and those of them with a limited user.
    pub used_roots: OrdMap<Root, AccountId>,
    pub limited_roots: OrdMap<Root, AccountId>,
    /// Who names a group, a folder or a role.
    pub referrers: OrdSet<(RecordKind, Name, Referrer)>,
    pub tokens_by_hash: OrdMap<[u8; 32], String>,
    /// Tokens of admins by expiry.
    pub tokens_by_admin: OrdSet<(Name, u64, String)>,
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
        let named = |user: &User| (Referrer::User(user.username.clone()), user.references());
        if before.is_some_and(User::names_records) || after.is_some_and(User::names_records) {
            self.references(before.map(named), after.map(named));
        }
        let belongs = |user: &User| user.role.clone().map(|role| (user.account, role));
        let (was, is) = (before.and_then(belongs), after.and_then(belongs));
        if was != is {
            was.into_iter().for_each(|key| self.count_role(key, u32::wrapping_sub));
            is.into_iter().for_each(|key| self.count_role(key, u32::wrapping_add));
        }
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

    /// Keeps in step who names what.
    pub fn references(
        &mut self,
        before: Option<(Referrer, Vec<(RecordKind, Name)>)>,
        after: Option<(Referrer, Vec<(RecordKind, Name)>)>,
    ) {
        if let Some((referrer, named)) = before {
            for (kind, name) in named {
                self.referrers.remove(&(kind, name, referrer.clone()));
            }
        }
        if let Some((referrer, named)) = after {
            for (kind, name) in named {
                self.referrers.insert((kind, name, referrer.clone()));
            }
        }
    }

    pub fn token(&mut self, before: Option<&Token>, after: Option<&Token>) {
        let of_admin = |row: &Token| row.admin().map(|admin| (admin.clone(), row.expires_at, row.name.clone()));
        if let Some(row) = before {
            self.tokens_by_hash.remove(&row.hash);
            of_admin(row).map(|key| self.tokens_by_admin.remove(&key));
        }
        if let Some(row) = after {
            self.tokens_by_hash.insert(row.hash, row.name.clone());
            of_admin(row).map(|key| self.tokens_by_admin.insert(key));
        }
    }

    fn count_role(&mut self, key: (AccountId, Name), change: fn(u32, u32) -> u32) {
        match change(self.role_users.get(&key).copied().unwrap_or_default(), 1) {
            0 => _ = self.role_users.remove(&key),
            count => _ = self.role_users.insert(key, count),
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
