//! Sessions of the whole cluster: list and end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use flotilla_cluster::ActiveTransfer;
use flotilla_model::command::KillSession;
use flotilla_model::{Command, NodeId, Refusal, RequestId, Session, SessionId, State, Username};
use futures::future::join_all;

use super::{Caller, Changed, Service, union};
use crate::access::Verb;
use crate::error::{ApiError, Code};

/// How long a list of sessions waits for what they transfer.
const TRANSFERS: Duration = Duration::from_secs(1);

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

    /// What these sessions read and write now, as their nodes tell. A session whose node does not answer in time is left out.
    pub(crate) async fn transfers(&self, sessions: &[Arc<Session>]) -> BTreeMap<SessionId, Vec<ActiveTransfer>> {
        let nodes: BTreeSet<NodeId> = sessions.iter().map(|session| session.id.node).collect();
        let ask = async |node: NodeId| Some((node, self.cluster.transfers(node, TRANSFERS).await?));
        let told: BTreeMap<_, _> = join_all(nodes.into_iter().map(ask)).await.into_iter().flatten().collect();
        let known = sessions.iter().filter(|session| told.contains_key(&session.id.node));
        let mut transfers: BTreeMap<_, _> = known.map(|session| (session.id, Vec::new())).collect();
        for transfer in told.into_values().flatten() {
            if let Some(own) = transfers.get_mut(&transfer.session) {
                own.push(transfer);
            }
        }
        transfers
    }

    /// Ends all sessions of users: part of a change of the users, so its permission is enough. Many at a time, since each may wait
    /// for its node. `None`: there were none.
    pub(crate) async fn disconnect_users(
        &self,
        caller: &Caller,
        usernames: impl IntoIterator<Item = &Username>,
    ) -> Result<Option<Changed>, ApiError> {
        caller.may(Verb::UpdateUser)?;
        let state = self.local_state();
        let of_user = |username: &Username| state.user_sessions(username).map(|row| row.id).collect::<Vec<_>>();
        let sessions: Vec<SessionId> = usernames.into_iter().flat_map(of_user).collect();
        let kill = async |session| match self.change(caller, None, Command::KillSession(KillSession { session })).await
        {
            // It ended by itself.
            Err(error) if error.code == Code::NotFound => Ok(None),
            done => done.map(Some),
        };
        union(sessions, kill).await
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
            seen.ok_or_else(|| ApiError::from(Refusal::SessionNotFound { session }).judged_by(&state))?;
        }
        self.change(caller, id, Command::KillSession(KillSession { session })).await
    }
}
