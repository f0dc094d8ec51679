//! Bodies of the calls that are neither openraft's nor proposals.

use flotilla_cluster::ActiveTransfer;
use flotilla_model::{LogIndex, NodeId, SessionId};
use serde::{Deserialize, Serialize};
use tonic::Response;
use tonic::metadata::MetadataValue;

use super::wire::Frame;
use crate::folder::Start;
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

/// Metadata of an answer to appends: the start of the store that acknowledges.
const START: &str = "flotilla-start-bin";

/// Says which start of this node's store answers: what it acknowledges is that one's word (`net/memory.rs`).
pub fn of_start<T>(start: &Start, mut response: Response<T>) -> Response<T> {
    response.metadata_mut().insert_bin(START, MetadataValue::from_bytes(&flotilla_model::codec::encode(start)));
    response
}

/// Which start of a peer's store answers.
pub fn start_of<T>(response: &Response<T>) -> Result<Start, String> {
    let value = response.metadata().get_bin(START).and_then(|value| value.to_bytes().ok());
    let value = value.ok_or("an answer does not say which start of its store gave it")?;
    flotilla_model::codec::decode(&value).map_err(|error| format!("the start that an answer names: {error}"))
}

pub fn frame<T: Serialize>(value: &T) -> Frame {
    Frame { body: flotilla_model::codec::encode(value) }
}

pub fn body<T: serde::de::DeserializeOwned>(frame: &Frame) -> Result<T, flotilla_model::codec::DecodeError> {
    flotilla_model::codec::decode(&frame.body)
}
