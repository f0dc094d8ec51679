//! Marks a session as ended by an administrator. Its slots come back with its close, not by the kick.

use super::{Scope, cut};
use crate::command::KillSession;
use crate::{CutReason, Done, Refusal, Reply};

pub(super) fn apply(scope: &mut Scope<'_>, command: &KillSession) -> Reply {
    let session = command.session;
    let row = scope.state.live_session(session).cloned().ok_or(Refusal::SessionNotFound { session })?;
    if scope.state.session_cut(&row).is_none() {
        cut::mark(scope, &row, CutReason::Killed);
    }
    Ok(Done::Revoked { revision: scope.index, nodes: vec![session.node] })
}
