//! Sessions of the whole cluster: list and end.

use std::sync::Arc;

use flotilla_model::command::KillSession;
use flotilla_model::{Command, RequestId, Session, SessionId, State};

use super::{Caller, Changed, Service};
use crate::access::Verb;
use crate::error::ApiError;

impl Service {
    /// Live sessions on all nodes.
    pub async fn list_sessions(
        &self,
        caller: &Caller,
        stale: bool,
    ) -> Result<(Arc<State>, Vec<Arc<Session>>), ApiError> {
        caller.may(Verb::ListSessions)?;
        let state = self.state(stale).await?;
        let sessions = state.live_sessions().cloned().collect();
        Ok((state, sessions))
    }

    pub async fn kill_session(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
        session: SessionId,
    ) -> Result<Changed, ApiError> {
        caller.may(Verb::KillSession)?;
        self.change(caller, id, Command::KillSession(KillSession { session })).await
    }
}
