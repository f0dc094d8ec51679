//! Proposals: a node's commands on their way into the log and their answers on the way back.

mod forward;
mod leader;
mod split;
mod submit;

use flotilla_model::{Envelope, LogIndex, Reply};
use serde::{Deserialize, Serialize};

pub use forward::Forwarder;
pub use leader::LeaderQueue;
pub use submit::Proposer;

/// Commands per group: of a node on its way to the leader, and of an entry.
pub const GROUP_COMMANDS: usize = 256;
/// Bytes per group: of what lies in a queue and of an entry. A command that is larger by itself is refused.
pub const GROUP_BYTES: usize = 1 << 20;

/// What became of one attempt to get a command into the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Applied {
        index: LogIndex,
        reply: Reply,
    },
    /// This attempt did nothing and never will.
    NotAppended(String),
    /// It may have been appended and may still be committed.
    Unknown(String),
}

/// A group of commands sent to the leader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Forwarded {
    pub commands: Vec<Envelope>,
    pub within_ms: u64,
}

/// About how many bytes a command takes in an entry.
pub fn size_of(envelope: &Envelope) -> usize {
    postcard::experimental::serialized_size(envelope).unwrap_or(GROUP_BYTES)
}
