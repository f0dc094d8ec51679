//! Cluster-wide settings, storages, secrets and admin tokens.

use serde::{Deserialize, Serialize};

use crate::{LogIndex, NodeId, StorageName};

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
    pub revision: LogIndex,
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
    pub revision: LogIndex,
}
