//! Sessions of the whole cluster: list and end.

use std::sync::Arc;

use flotilla_model::command::KillSession;
use flotilla_model::{Command, Refusal, RequestId, Session, SessionId, State, Username};

use super::{Caller, Changed, Service};
use crate::access::Verb;
use crate::error::{ApiError, Code};

impl Service {
    /// Live sessions on all nodes.
    pub async fn list_sessions(
        &self,
        caller: &Caller,
        stale: bool,
    ) -> Result<(Arc<State>, Vec<Arc<Session>>), ApiError> {
        caller.may(Verb::ListSessions)?;
        let state = self.state(stale).await?;
        let sessions = state.live_sessions().filter(|session| caller.sees_session(&state, session)).cloned().collect();
        Ok((state, sessions))
    }

    /// Ends all sessions of a user: part of a change of the user, so its permission is enough.
    pub(crate) async fn disconnect_user(&self, caller: &Caller, username: &Username) -> Result<(), ApiError> {
        caller.may(Verb::UpdateUser)?;
        let sessions: Vec<SessionId> = self.local_state().user_sessions(username).map(|row| row.id).collect();
        for session in sessions {
            match self.change(caller, None, Command::KillSession(KillSession { session })).await {
                // It ended by itself.
                Err(error) if error.code == Code::NotFound => {}
                other => _ = other?,
            }
        }
        Ok(())
    }

    pub async fn kill_session(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
        session: SessionId,
    ) -> Result<Changed, ApiError> {
        caller.may(Verb::KillSession)?;
        if caller.role.is_some() {
            let state = self.state(false).await?;
            let seen = state.session(session).filter(|row| caller.sees_session(&state, row));
            seen.ok_or_else(|| ApiError::from(Refusal::SessionNotFound { session }))?;
        }
        self.change(caller, id, Command::KillSession(KillSession { session })).await
    }
}
