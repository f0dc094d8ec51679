//! Takes one more slot for a further file-transfer channel of a session (`PROTOCOL.md` 2.2).

use super::{Scope, open_session};
use crate::command::AddSlot;
use crate::{CommandId, Done, Effect, Refusal, Reply, Session, User};

/// Slots that one connection may hold.
const MAX_SLOTS: u32 = 1_024;

pub(super) fn apply(scope: &mut Scope<'_>, id: CommandId, command: &AddSlot) -> Reply {
    let session = command.session;
    let own = matches!(id, CommandId::Node { node, epoch, .. } if (node, epoch) == (session.node, session.epoch));
    if !own {
        return Err(Refusal::Invalid("id: a slot is asked for by its session's node and epoch".into()));
    }
    let row = scope.state.live_session(session).cloned();
    let row = row.filter(|row| scope.state.session_cut(row).is_none()).ok_or(Refusal::SessionNotFound { session })?;
    let user = scope.get::<User>(&row.username).ok_or(Refusal::SessionNotFound { session })?;
    open_session::has_room(scope.state, &user)?;
    if row.slots >= MAX_SLOTS {
        return Err(Refusal::Invalid(format!("slots: more than {MAX_SLOTS} in one session")));
    }
    scope.put(Session { slots: row.slots + 1, ..Session::clone(&row) });
    scope.effect(Effect::Session(session));
    Ok(Done::Revision(scope.index))
}
