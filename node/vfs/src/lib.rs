//! Storage backends: where files live. Knows accounts' staging folders and epochs, but no users, permissions or quota.

pub mod backend;
pub use backend::*;
