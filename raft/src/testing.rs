//! For this crate's integration tests: the parts below the handle. Not an interface.

pub use crate::machine::Machine;
pub use crate::pki::Identity;
pub use crate::roster::Rosters;
pub use crate::shared::Shared;
pub use crate::store::{LogStore, Space};
pub use crate::types::{LogId, Payload, RaftEntry, TypeConfig, Vote};

/// The settings that the running engine uses.
pub fn engine_config(handle: &crate::Handle) -> std::sync::Arc<openraft::Config> {
    std::sync::Arc::clone(handle.raft.config())
}
