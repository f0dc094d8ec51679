//! What has been answered, so that a repeated command answers the same and does nothing twice; and epochs whose rows wait to be swept.

use serde::{Deserialize, Serialize};

use crate::{Epoch, NodeId, Reply, RequestId};

/// The reply to an outside caller's command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredRequest {
    pub id: RequestId,
    pub reply: Reply,
}

/// The reply to a node's own command, by its number within the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredNumber {
    pub epoch: Epoch,
    pub number: u64,
    pub reply: Reply,
}

/// Why an epoch is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EpochEnd {
    LeaseExpired,
    RegisteredAgain,
    NodeRemoved,
}

impl EpochEnd {
    pub fn text(self) -> &'static str {
        match self {
            EpochEnd::LeaseExpired => "lease expired",
            EpochEnd::RegisteredAgain => "node registered again",
            EpochEnd::NodeRemoved => "node removed",
        }
    }
}

/// An epoch that is over, while rows of it remain. They are dead already; the sweep removes them in slices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadEpoch {
    pub epoch: Epoch,
    pub node: NodeId,
    pub end: EpochEnd,
}
