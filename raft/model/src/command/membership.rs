//! Commands of membership: who is let in, who is put out, and what they knew (`DESIGN.md` 6).

use serde::{Deserialize, Serialize};

use crate::{LogIndex, NodeId};

/// Makes a join token known by its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakeJoinToken {
    pub hash: [u8; 32],
    /// Milliseconds of replicated time from now.
    pub life_ms: u64,
}

/// Lets a node in that showed the token's secret; gives it an id. Membership of Raft follows from the row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmitNode {
    pub token_hash: [u8; 32],
    /// DER SubjectPublicKeyInfo of the new node's key.
    pub public_key: Vec<u8>,
    pub name: String,
    pub peer_address: String,
    pub admin_address: String,
    pub sftp_address: String,
}

/// Puts a node out: its peers refuse it from now on, its slots come free when its lease is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveNode {
    pub node: NodeId,
    /// Known to be gone for good (`cluster recover`): its epoch ends at once.
    pub lost: bool,
}

/// Seals secrets anew, all or none: those that changed since they were read refuse the whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResealSecrets {
    /// Name, revision that was read, sealed bytes.
    pub secrets: Vec<(String, LogIndex, Vec<u8>)>,
}
