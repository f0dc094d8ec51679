//! Only in a simulation: whoever wants to see each entry as it is applied, on every node.

use std::sync::Arc;

use flotilla_model::{Reply, State};

use crate::types::LogId;

/// Called by the state machine, under no lock.
pub trait Witness: Send + Sync {
    /// An entry was applied. `entry`: an encoded `flotilla_model::Entry`, or none for the engine's own entries.
    fn applied(&self, id: LogId, entry: Option<&[u8]>, replies: &[Reply], state: &State);
    /// A snapshot took the place of the state.
    fn installed(&self, id: Option<LogId>, state: &State);
}

/// Nobody, until a simulation sets one.
pub type Slot = std::sync::OnceLock<Arc<dyn Witness>>;
