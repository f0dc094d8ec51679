//! The replicated core: openraft, the sled log store, the peer network, proposals, leases and the leader's duties.
//!
//! Everything above sees only `RaftNode` and `Handle` (which is a `flotilla_cluster::Cluster`); no openraft, sled or
//! tonic type leaves this crate. The rules are those of `PROTOCOL.md` 1, 3.3 and 9.

mod blocking;
mod bootstrap;
mod config;
mod core;
mod engine;
mod folder;
mod handle;
mod lease;
mod machine;
mod manage;
mod members;
mod metric;
mod net;
mod node;
pub mod pki;
mod priority;
mod propose;
mod quorum;
mod read;
mod recover;
mod restore;
pub mod roster;
mod runtime;
mod shared;
mod snapshot;
mod store;
mod types;
#[cfg(feature = "simulation")]
mod witness;

pub use config::{Config, PeerAddress, Route, StoreChoice, Timing};
pub use folder::FolderError;
pub use handle::Handle;
pub use net::{Desk, JOIN_VERSION, JoinAnswer, JoinError, JoinRequest, Welcome, join};
pub use node::{RaftNode, StartError};
pub use recover::{RecoverError, Recovered, recover};
pub use restore::restore_folder;
#[doc(hidden)]
pub mod testing;
