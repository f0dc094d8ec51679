//! A reference written from the promises, not from the commands: who may log in, whose sessions live, which of them are over.
//!
//! It knows no log indices, tables or pointers: users are what an administrator sees of them, sessions are a set, a node's process
//! is alive or not. What it says of a change is asked of every path, permission and address there is in its small world.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_model::*;

/// Addresses of the small world.
pub const ADDRESSES: [&str; 4] = ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32", "192.0.2.4/32"];
/// Paths of the small world.
pub const PATHS: [&str; 8] = ["/", "/a", "/b", "/ab", "/a/a", "/a/b", "/a/b/c", "/b/a/x"];

#[derive(Clone, Debug)]
pub struct RefUser {
    pub spec: UserSpec,
    /// Tells this user from an earlier one of the name.
    pub identity: u64,
    /// Moves with everything that a login is judged by.
    pub login_state: u64,
    /// The entry in which sessions of this user were last cut together.
    pub cut_in_entry: u64,
}

#[derive(Clone, Debug)]
pub struct RefSession {
    pub username: Username,
    pub slots: u32,
    pub cut: bool,
    /// The entry in which it was opened.
    pub entry: u64,
}

/// What a node had read when it verified a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    pub identity: u64,
    pub login_state: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Opened,
    NoUser,
    Changed,
    Disabled,
    Expired,
    Full(u32),
}

/// What a change of a user must do to the sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutAll {
    Must,
    May,
    MustNot,
}

#[derive(Clone, Debug, Default)]
pub struct Reference {
    pub users: BTreeMap<Username, RefUser>,
    pub sessions: BTreeMap<SessionId, RefSession>,
    /// Numbers of opens whose close was taken first.
    pub closed_before: BTreeSet<SessionId>,
    counter: u64,
}

impl Reference {
    pub fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub fn view(&self, username: &Username) -> Option<View> {
        self.users.get(username).map(|user| View { identity: user.identity, login_state: user.login_state })
    }

    pub fn slots_of(&self, username: &Username) -> u32 {
        self.sessions.values().filter(|session| session.username == *username).map(|session| session.slots).sum()
    }

    /// Whether a login that was verified against `view` may go on.
    pub fn judge(&self, username: &Username, view: View, wall: u64) -> Verdict {
        let Some(user) = self.users.get(username) else { return Verdict::NoUser };
        if self.view(username) != Some(view) {
            Verdict::Changed
        } else if user.spec.status == Status::Disabled {
            Verdict::Disabled
        } else if user.spec.expiration_date != 0 && user.spec.expiration_date <= wall {
            Verdict::Expired
        } else if self.is_full(username) {
            Verdict::Full(self.slots_of(username))
        } else {
            Verdict::Opened
        }
    }

    pub fn is_full(&self, username: &Username) -> bool {
        let limit = self.users.get(username).map_or(0, |user| user.spec.max_sessions);
        limit != 0 && self.slots_of(username) >= limit
    }

    /// The process of a node is gone: so are its sessions.
    pub fn end_node(&mut self, node: NodeId) {
        self.sessions.retain(|id, _| id.node != node);
        self.closed_before.retain(|id| id.node != node);
    }

    /// Cuts all sessions of a user; returns the nodes of those that were not over before.
    pub fn cut_all(&mut self, username: &Username, entry: u64) -> BTreeSet<NodeId> {
        let mut nodes = BTreeSet::new();
        for (id, session) in self.sessions.iter_mut().filter(|(_, session)| session.username == *username) {
            if !session.cut {
                nodes.insert(id.node);
            }
            session.cut = true;
        }
        if let Some(user) = self.users.get_mut(username) {
            user.cut_in_entry = entry;
        }
        nodes
    }

    /// Ends the newest sessions until the rest fits the user's limit.
    pub fn cut_newest(&mut self, username: &Username) -> BTreeSet<NodeId> {
        let limit = self.users[username].spec.max_sessions;
        let mut nodes = BTreeSet::new();
        loop {
            let going_on = || self.sessions.iter().filter(|(_, s)| s.username == *username && !s.cut);
            if going_on().map(|(_, session)| session.slots).sum::<u32>() <= limit {
                return nodes;
            }
            let newest = going_on().max_by_key(|(id, session)| (session.entry, **id)).map(|(id, _)| *id).unwrap();
            nodes.insert(newest.node);
            self.sessions.get_mut(&newest).unwrap().cut = true;
        }
    }

    /// Whether that home could not be given to that user.
    pub fn overlaps(&self, username: &Username, spec: &UserSpec) -> bool {
        let others = || self.users.iter().filter(|(name, _)| *name != username).map(|(_, user)| &user.spec);
        let limited_root = |root: &Root| {
            others().chain([spec]).any(|other| other.home == *root && (other.quota_size != 0 || other.quota_files != 0))
        };
        others().any(|other| {
            let nested = lies_in(other.home.path(), spec.home.path()) || lies_in(spec.home.path(), other.home.path());
            nested && (limited_root(&other.home) || limited_root(&spec.home))
        })
    }
}

fn lies_in(inner: &str, outer: &str) -> bool {
    let parts = |path: &str| -> Vec<String> { path.split('/').filter(|p| !p.is_empty()).map(str::to_owned).collect() };
    let (inner, outer) = (parts(inner), parts(outer));
    inner.len() > outer.len() && inner[..outer.len()] == outer[..]
}

/// Whether the change of a user takes something away.
pub fn takes_away(before: &UserSpec, after: &UserSpec, wall: u64) -> CutAll {
    let disabled = before.status == Status::Enabled && after.status == Status::Disabled;
    let password = before.password_hash.is_some() && after.password_hash != before.password_hash;
    let key = before.public_keys.iter().any(|key| !after.public_keys.contains(key));
    let moved = before.home != after.home;
    let expired =
        after.expiration_date != before.expiration_date && after.expiration_date != 0 && after.expiration_date <= wall;
    let permission = PATHS.iter().any(|path| {
        Permission::NAMES.iter().any(|(wanted, _)| allows(before, path, *wanted) && !allows(after, path, *wanted))
    });
    let address = ADDRESSES.iter().any(|address| lets_in(before, address) && !lets_in(after, address));
    let denied = |lists: fn(&Filters) -> &Vec<String>| {
        lists(&after.filters).iter().any(|item| !lists(&before.filters).contains(item))
    };
    let method = denied(|filters| &filters.denied_login_methods) || denied(|filters| &filters.denied_protocols);
    if disabled || password || key || moved || expired || permission || address || method {
        CutAll::Must
    } else if before.filters != after.filters {
        // Address lists may be compared by their words: ending too much there is allowed.
        CutAll::May
    } else {
        CutAll::MustNot
    }
}

/// Whether a login is judged by something that changed.
pub fn concerns_logins(before: &UserSpec, after: &UserSpec) -> bool {
    before.status != after.status
        || before.password_hash != after.password_hash
        || before.public_keys != after.public_keys
        || before.expiration_date != after.expiration_date
        || before.filters != after.filters
}

fn allows(spec: &UserSpec, path: &str, wanted: Permission) -> bool {
    let nearest = spec.permissions.iter().filter(|(folder, _)| *folder == path || lies_in(path, folder));
    let (_, list) = nearest.max_by_key(|(folder, _)| folder.len()).unwrap();
    list.iter().any(|held| match held {
        Permission::Any => true,
        Permission::Delete => matches!(wanted, Permission::Delete | Permission::DeleteFiles | Permission::DeleteDirs),
        Permission::Rename => matches!(wanted, Permission::Rename | Permission::RenameFiles | Permission::RenameDirs),
        held => *held == wanted,
    })
}

fn lets_in(spec: &UserSpec, address: &str) -> bool {
    let named = |list: &[String]| list.iter().any(|item| item == address);
    !named(&spec.filters.denied_ip) && (spec.filters.allowed_ip.is_empty() || named(&spec.filters.allowed_ip))
}
