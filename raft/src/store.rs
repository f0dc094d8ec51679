//! The log store: a back end that writes groups of operations, one IO thread before it, and openraft's traits on top.

pub mod backend;
mod io_thread;
mod log;
pub mod redb_backend;
mod sealed;
pub mod sled_backend;
mod tail;

#[cfg(feature = "simulation")]
pub use io_thread::{Done, Writer};
pub use log::{LogStore, Shown};
pub use sled_backend::Space;
