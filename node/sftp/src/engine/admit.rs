//! Takes a request's bytes in, waiting for room where that is safe.

use std::sync::Arc;

use super::{
    CloseReason, Config,
    schedule::Payload,
    shared::{Shared, State},
};

impl Shared {
    pub fn check_outstanding(&self) -> Result<(), CloseReason> {
        let state = self.lock();
        if let Some(reason) = &state.over {
            return Err(reason.clone());
        }
        if state.outstanding() >= self.config.outstanding_requests {
            return Err(CloseReason::Overload("requests"));
        }
        Ok(())
    }

    /// Room for the bytes of a request. The loop that waits here reads no input, so nothing that is waited for may depend on the
    /// client's window: as long as something runs it ends by itself; when nothing runs, all that waits is waiting for output.
    pub async fn payload(self: &Arc<Self>, bytes: usize) -> Result<Payload, CloseReason> {
        self.wait_for(|state| try_payload(state, bytes, &self.config)).await
    }
}

fn try_payload(state: &mut State, bytes: usize, config: &Config) -> Option<Result<Payload, CloseReason>> {
    if let Some(reason) = &state.over {
        return Some(Err(reason.clone()));
    }
    match state.schedule.try_payload(bytes, config) {
        Some(payload) => Some(Ok(payload)),
        None if state.schedule.running() == 0 => {
            Some(Err(CloseReason::Overload("writes behind replies that are not read")))
        }
        None => None,
    }
}
