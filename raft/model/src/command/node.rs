//! Commands of nodes and leases (`PROTOCOL.md` 1).

use serde::{Deserialize, Serialize};

use crate::{Epoch, NodeId};

/// Adds a node to the records, or changes its addresses. Administration; membership of Raft itself is the engine's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutNode {
    pub node: NodeId,
    pub name: String,
    /// DER SubjectPublicKeyInfo; empty leaves a known node's as it is.
    pub public_key: Vec<u8>,
    pub peer_address: String,
    pub admin_address: String,
    pub sftp_address: String,
}

/// A process asks for a new epoch. Taken only if `replaces` is still the node's last epoch; it is renewal 0.
/// At most one registration per entry is taken, since the epoch is the entry's index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterNode {
    pub node: NodeId,
    /// Random identity of the node's store; once registered, another one is refused.
    pub store: u128,
    /// Process start counter of the node's store, and a random number of this start.
    pub start: u64,
    pub nonce: u128,
    /// The epoch that the node last saw as its own in the state, `Epoch(0)` if none.
    pub replaces: Epoch,
    pub version: String,
}

/// One renewal round for all nodes, proposed by the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// The leader's term and the smaller of its two clocks in ms, for the stopped-clock test (1.4).
    pub term: u64,
    pub leader_clock_ms: u64,
    /// Node, epoch, renewal number.
    pub renewals: Vec<(NodeId, Epoch, u64)>,
}

/// Ends an epoch whose lease is over. Dropped by apply if a later renewal than `last_renewal` stands before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expire {
    pub node: NodeId,
    pub epoch: Epoch,
    pub last_renewal: u64,
}
