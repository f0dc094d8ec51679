//! Identifiers and units of the model: small types, parsed once at the edge.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Index of an entry in the Raft log. Revisions of records are log indices too.
pub type LogIndex = u64;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number!(
    /// A node of the cluster. Comes from the log, never reused.
    NodeId
);
number!(
    /// The log index of a node's registration: the fencing token of all that the node does under one lease.
    Epoch
);
number!(
    /// Milliseconds of replicated time: the largest leader count seen so far. Intervals run on it, nothing exclusive does.
    LogTime
);
number!(
    /// Milliseconds since 1970-01-01 UTC on the proposing leader's wall clock. For dates that people set, as policy only.
    WallTime
);
number!(
    /// A quota account: one root on one storage. The log index at which it was first used, and a counter within the entry.
    AccountId
);

/// A request id of an outside caller: a UUIDv7 as a number, so that order is order of time.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u128);

impl RequestId {
    /// Milliseconds since the epoch in the id's first 48 bits.
    pub fn unix_ms(self) -> u64 {
        (self.0 >> 80) as u64
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({:032x})", self.0)
    }
}

/// One authenticated connection, named by the number of the command that opened it within its node's epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId {
    pub node: NodeId,
    pub epoch: Epoch,
    pub number: u64,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.node, self.epoch, self.number)
    }
}

impl std::str::FromStr for SessionId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let bad = || InvalidName { what: "session id", reason: "expected NODE-EPOCH-NUMBER" };
        let mut parts = text.split('-').map(|part| part.parse::<u64>().map_err(|_| bad()));
        let mut next = || parts.next().unwrap_or_else(|| Err(bad()));
        let id = SessionId { node: NodeId(next()?), epoch: Epoch(next()?), number: next()? };
        if parts.next().is_some() { Err(bad()) } else { Ok(id) }
    }
}

/// Why a name cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what}: {reason}")]
pub struct InvalidName {
    pub what: &'static str,
    pub reason: &'static str,
}

/// A user's name: 1 to 64 bytes of `[A-Za-z0-9._@-]`, neither `.` nor `..`, not starting with `-` or `.`. It is also a path component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Username(Arc<str>);

/// A storage's name as configured on the nodes: the same grammar as a user's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StorageName(Arc<str>);

/// The name of an admin, a group, a folder, a role or an API key: the same grammar as a user's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

fn check_name(what: &'static str, text: &str) -> Result<(), InvalidName> {
    let reason = if text.is_empty() {
        "it is empty"
    } else if text.len() > 64 {
        "it is longer than 64 bytes"
    } else if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@-".contains(&b)) {
        "only letters, digits and . _ @ - are allowed"
    } else if text.starts_with(['.', '-']) {
        "it starts with a dot or a dash"
    } else {
        return Ok(());
    };
    Err(InvalidName { what, reason })
}

macro_rules! name {
    ($name:ident, $what:literal) => {
        impl $name {
            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                check_name($what, text).map(|()| $name(text.into()))
            }
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                check_name($what, &text).map(|()| $name(text.into()))
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                (*name.0).to_owned()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
impl Username {
    /// Below every name: where a range of names begins.
    pub(crate) fn least() -> Self {
        Username("".into())
    }
}
name!(Username, "username");
name!(StorageName, "storage name");
name!(Name, "name");

/// A folder on a storage: the root of an account. `path` is relative to the storage's path, components joined by `/`,
/// without `.`, `..`, empty components or NUL; the empty path is the storage's own folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Root {
    pub storage: StorageName,
    path: Arc<str>,
}

impl Root {
    pub fn new(storage: StorageName, path: &str) -> Result<Self, InvalidName> {
        let bad = |reason| Err(InvalidName { what: "root path", reason });
        if path.len() > 1024 {
            return bad("it is longer than 1024 bytes");
        }
        if !path.is_empty() {
            for part in path.split('/') {
                match part {
                    "" => return bad("it has an empty component"),
                    "." | ".." => return bad("it has a . or .. component"),
                    _ if part.contains('\0') => return bad("it contains NUL"),
                    _ if part.eq_ignore_ascii_case(".flotilla") => return bad(".flotilla is reserved"),
                    _ => {}
                }
            }
        }
        Ok(Root { storage, path: path.into() })
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether `other` lies strictly inside this root on the same storage.
    pub fn contains(&self, other: &Root) -> bool {
        self.storage == other.storage
            && self.path != other.path
            && (self.path.is_empty() || other.path.strip_prefix(&*self.path).is_some_and(|rest| rest.starts_with('/')))
    }

    /// The folders that contain this one, nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = Root> + '_ {
        let cuts = self.path.rmatch_indices('/').map(|(at, _)| at);
        let storage_itself = (!self.path.is_empty()).then_some(0);
        cuts.chain(storage_itself).map(|end| Root { storage: self.storage.clone(), path: self.path[..end].into() })
    }

    /// The smallest root in order that could lie inside this one; those that do follow it without a gap.
    pub(crate) fn first_inside(&self) -> Root {
        let path = if self.path.is_empty() { "\0".into() } else { format!("{}/", self.path) };
        Root { storage: self.storage.clone(), path: path.into() }
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.storage, self.path)
    }
}
