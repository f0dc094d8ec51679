//! Cluster-wide settings, storages, secrets and admin tokens.

use serde::{Deserialize, Serialize};

use super::change::{self, Fields, Shown};
use crate::{LogIndex, LogTime, Name, NodeId, StorageName};

/// Identity and switches of the cluster. Exists from the first entry on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// A random UUID as text: old peers and foreign storages are told apart by it.
    pub cluster_id: String,
    /// What `apply` does is a function of this level, never of the binary.
    pub feature_level: u32,
    /// Events kept for watchers.
    pub event_window: u64,
    /// Replies kept for repeated requests.
    pub request_window: u64,
    /// The largest node id ever given: ids are not reused, so one at or below it without a row was removed.
    pub last_node: NodeId,
    /// Bounded; those that are over go when a new one is made.
    pub join_tokens: Vec<JoinToken>,
    pub revision: LogIndex,
}

/// Lets one new node in, once. Only its hash is known to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// SHA-256 of the token's secret.
    pub hash: [u8; 32],
    pub expires: LogTime,
    /// The node that it let in, with its key: the same key may ask again.
    pub redeemed: Option<(NodeId, Vec<u8>)>,
}

/// A storage that some node has asked the cluster to adopt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    pub name: StorageName,
    /// Random UUID as text, written into the storage's marker beside the cluster id.
    pub storage_id: String,
    /// The one node that may write the marker; it says when it has.
    pub marker_by: NodeId,
    pub marker_written: bool,
    pub revision: LogIndex,
}

/// A secret sealed with the cluster key before it entered the log (host keys, CA key …).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    pub name: String,
    pub sealed: Vec<u8>,
    pub revision: LogIndex,
}

impl std::fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedSecret").field("name", &self.name).field("bytes", &self.sealed.len()).finish()
    }
}

/// A bearer token for administration. Only its hash is known to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub name: String,
    /// SHA-256 of the token's text.
    pub hash: [u8; 32],
    /// Admin permissions, SFTPGo's names; `*` = all.
    pub permissions: Vec<String>,
    /// Milliseconds since the epoch, 0 = never.
    pub expires_at: u64,
    pub kind: TokenKind,
    /// Milliseconds since the epoch.
    pub created_at: u64,
    pub updated_at: u64,
    pub revision: LogIndex,
}

const LOGIN: &str = "login:";
const API_KEY: &str = "key:";

/// What a token is for and whose permissions it carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenKind {
    /// Made by name, with permissions of its own.
    Standing,
    /// Of a login by an admin's password: what the admin may do at each call.
    Login { admin: Name },
    /// SFTPGo's API key: what an admin who allows it may do at each call.
    ApiKey { id: Name, label: String, description: String, admin: Option<Name> },
}

impl Token {
    pub fn login_name(admin: &Name, hash: &[u8; 32]) -> String {
        let mark: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{LOGIN}{admin}:{mark}")
    }

    pub fn api_key_name(id: &Name) -> String {
        format!("{API_KEY}{id}")
    }

    /// Whether a name is one of those that are made here.
    pub(crate) fn is_made_name(name: &str) -> bool {
        name.starts_with(LOGIN) || name.starts_with(API_KEY)
    }

    pub(crate) fn fields(&self) -> Fields {
        let mut fields = vec![("permissions", self.permissions.shown()), ("expires_at", self.expires_at.shown())];
        if let TokenKind::ApiKey { label, description, admin, .. } = &self.kind {
            fields.extend([("name", label.shown()), ("description", description.shown()), ("admin", admin.shown())]);
        }
        let hash: String = self.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        fields.push(("key", change::secret(&Some(hash))));
        fields
    }

    /// The admin that it belongs to.
    pub fn admin(&self) -> Option<&Name> {
        match &self.kind {
            TokenKind::Standing | TokenKind::ApiKey { admin: None, .. } => None,
            TokenKind::Login { admin } | TokenKind::ApiKey { admin: Some(admin), .. } => Some(admin),
        }
    }
}
