//! The cluster: who is in it, who leads, how far each is.

use std::sync::Arc;

use flotilla_cluster::Status;
use flotilla_model::State;

use super::{Caller, Service};
use crate::error::ApiError;

impl Service {
    /// Answers without a quorum too: an operator needs it most then. The state says its index.
    pub fn cluster_status(&self, caller: &Caller) -> Result<(Status, Arc<State>), ApiError> {
        caller.may("view_status")?;
        Ok((self.cluster.status(), self.cluster.state()))
    }
}
