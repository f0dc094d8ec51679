//! For this crate's integration tests: the parts below the handle. Not an interface.

pub use crate::lease::{Frozen, FrozenLease, LeaseBook, Note, due_expiry};
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

/// What a simulation puts together itself (`tests/sim`).
#[cfg(feature = "simulation")]
pub mod simulation {
    pub use crate::core::{Core, Parts};
    pub use crate::engine::config as settings;
    pub use crate::folder::Start;
    pub use crate::lease::Renewal;
    pub use crate::net::{CallError, Calls};
    pub use crate::propose::{Forwarded, Outcome};
    pub use crate::read::Purpose;
    pub use crate::runtime::seeded::set_seed;
    pub use crate::snapshot::SnapshotFile;
    pub use crate::store::backend::{LogBackend, LogReads, Op, Recovered};
    pub use crate::store::{Done, Shown, Writer};
    pub use crate::types::{Raft, Replies, Snapshot, SnapshotMeta};
    pub use crate::witness::Witness;
}
