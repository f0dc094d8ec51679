//! Storage backends: where files live. Knows accounts' staging folders and epochs, but no users, permissions or quota.

pub mod backend;
pub mod local;

pub use backend::*;
#[cfg(feature = "planted-bugs")]
pub use local::CREDITS_BEFORE_SYNC;
pub use local::{LocalOptions, LocalStorage};
