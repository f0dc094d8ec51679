//! Leases (`PROTOCOL.md` 1): what a node notes about them, how it keeps its own, what the leader does for all.

mod book;
mod duty;
mod keep;

pub use book::{Frozen, FrozenLease, LeaseBook, Note};
pub use duty::{LeaderDuty, due_expiry};
use flotilla_model::{Epoch, NodeId};
pub use keep::LeaseKeeper;
use serde::{Deserialize, Serialize};

/// A numbered renewal on its way from a node to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    pub node: NodeId,
    pub epoch: Epoch,
    pub number: u64,
}
