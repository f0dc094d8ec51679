//! Commands of settings, storages, secrets and tokens.

use serde::{Deserialize, Serialize};

use crate::{LogIndex, NodeId, StorageName};

/// The first command of a cluster. Refused if the cluster already has an identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitCluster {
    pub cluster_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutSecret {
    pub name: String,
    /// `Some(0)`: only if absent.
    pub expected_revision: Option<LogIndex>,
    pub sealed: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutToken {
    pub name: String,
    pub hash: [u8; 32],
    pub permissions: Vec<String>,
    pub expires_at: u64,
    /// Whether an existing token of that name may be replaced.
    pub replace: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteToken {
    pub name: String,
    /// Only the token of this revision.
    pub expected_revision: Option<LogIndex>,
}

/// A node found no marker on a storage that the cluster does not know yet. The first one wins and writes the marker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptStorage {
    pub name: StorageName,
    pub storage_id: String,
    pub node: NodeId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkerWritten {
    pub name: StorageName,
    pub storage_id: String,
}
