//! For this crate's integration tests: the parts below the handle. Not an interface.

pub use crate::machine::Machine;
pub use crate::pki::Identity;
pub use crate::shared::Shared;
pub use crate::store::LogStore;
pub use crate::types::{LogId, RaftEntry, TypeConfig, Vote};
