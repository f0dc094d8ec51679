//! A node of the cluster: its membership, current epoch and renewals.

use serde::{Deserialize, Serialize};

use crate::{Epoch, LogIndex, LogTime, NodeId};

/// A node as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    pub name: String,
    /// DER SubjectPublicKeyInfo of the key in the node's certificate: peers accept this one for the id and no other.
    /// Empty only in tests that have no peers.
    pub public_key: Vec<u8>,
    /// `address:port` for peers, administration and SFTP, as the node announces them.
    pub peer_address: String,
    pub admin_address: String,
    pub sftp_address: String,
    /// The last registration's index, whether it is alive or not; `Epoch(0)` before the first.
    pub last_epoch: Epoch,
    /// Whether `last_epoch` is alive: neither expired nor replaced.
    pub alive: bool,
    /// It was removed: refused by its peers, and its row goes when its epoch is over.
    pub leaving: bool,
    /// Random identity of its store, 0 before the first registration.
    pub store: u128,
    /// Process start counter of the last registration, and that start's random number.
    pub start: u64,
    pub nonce: u128,
    /// Number of the last renewal applied in this epoch; the registration is renewal 0.
    pub renewal: u64,
    pub renewed_index: LogIndex,
    pub renewed_at: LogTime,
    /// Node-numbered commands: numbers at or below the floor have been taken and answered.
    pub floor: u64,
    pub version: String,
}
