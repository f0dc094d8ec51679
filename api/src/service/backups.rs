//! A consistent cut of the replicated state, for `flotilla backup save`.

use std::sync::Arc;

use flotilla_model::State;

use super::{Caller, Service};
use crate::access::Verb;
use crate::error::ApiError;

impl Service {
    /// The state behind a read barrier: everything acknowledged before the call is in it. It never changes, whatever follows.
    pub async fn backup(&self, caller: &Caller) -> Result<Arc<State>, ApiError> {
        caller.may(Verb::SaveBackup)?;
        let state = self.state(false).await?;
        tracing::info!(
            sender = "backup",
            caller = caller.name,
            log_index = state.applied_index(),
            "a backup was begun"
        );
        Ok(state)
    }
}
