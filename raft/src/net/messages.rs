//! Bodies of the calls that are neither openraft's nor proposals.

use flotilla_cluster::ActiveTransfer;
use flotilla_model::{LogIndex, NodeId, SessionId};
use serde::{Deserialize, Serialize};

use super::wire::Frame;
use crate::types::{SnapshotMeta, Vote};

/// First frame of a snapshot stream.
#[derive(Serialize, Deserialize)]
pub struct SnapshotHead {
    pub vote: Vote,
    pub meta: SnapshotMeta,
}

#[derive(Serialize, Deserialize)]
pub struct EffectiveQuestion {
    pub index: LogIndex,
    pub within_ms: u64,
}

#[derive(Serialize, Deserialize)]
pub struct ProbeQuestion {
    pub sessions: Vec<SessionId>,
}

/// What operators ask of one node, by way of another.
#[derive(Serialize, Deserialize)]
pub enum Manage {
    /// To the leader: hand leadership over.
    Transfer {
        to: Option<NodeId>,
        within_ms: u64,
    },
    Drain,
    /// To keep a cluster key that will be in use.
    OfferKey(String),
    /// To say which cluster keys it has.
    Keys,
    /// To say what its sessions read and write now.
    Transfers,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Managed {
    Done,
    Leads(NodeId),
    Keys(String),
    Refused(String),
    Transfers(Vec<ActiveTransfer>),
}

pub fn frame<T: Serialize>(value: &T) -> Frame {
    Frame { body: flotilla_model::codec::encode(value) }
}

pub fn body<T: serde::de::DeserializeOwned>(frame: &Frame) -> Result<T, flotilla_model::codec::DecodeError> {
    flotilla_model::codec::decode(&frame.body)
}
