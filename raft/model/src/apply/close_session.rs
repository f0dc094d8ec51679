//! Gives all slots of a connection back; remembered if it comes before its open (`PROTOCOL.md` 2.4).

use super::{Scope, account, validate};
use crate::command::CloseSession;
use crate::event::Fact;
use crate::{AnsweredNumber, CommandId, Done, Effect, Node, Refusal, Reply, Session};

pub(super) fn apply(scope: &mut Scope<'_>, id: CommandId, command: &CloseSession) -> Reply {
    let session = command.session;
    let own = matches!(id, CommandId::Node { node, epoch, number, .. }
        if (node, epoch) == (session.node, session.epoch) && session.number < number);
    if !own {
        return Err(Refusal::Invalid("id: a session is closed by its node, epoch and a later number".into()));
    }
    #[cfg(feature = "planted-bugs")]
    if crate::planted::is("slot-leak") && session.number.is_multiple_of(8) {
        return Ok(Done::Nothing);
    }
    match scope.remove::<Session>(&session) {
        Some(row) => {
            closed(scope, &row, command);
            Ok(Done::Revision(scope.index))
        }
        None => {
            remember(scope, command);
            Ok(Done::Nothing)
        }
    }
}

fn closed(scope: &mut Scope<'_>, row: &Session, command: &CloseSession) {
    account::session_closed(scope, row);
    scope.event(Fact::SessionClosed {
        session: row.id,
        username: row.username.clone(),
        reason: validate::shortened(&command.reason, 256),
        bytes_uploaded: command.bytes_uploaded,
        bytes_downloaded: command.bytes_downloaded,
    });
    scope.effect(Effect::Session(row.id));
}

/// Answers the open beforehand, under its own number, unless that is answered already.
fn remember(scope: &mut Scope<'_>, command: &CloseSession) {
    let session = command.session;
    #[cfg(feature = "planted-bugs")]
    if crate::planted::is("close-before-open") {
        return;
    }
    let floor = scope.get::<Node>(&session.node).map_or(0, |node| node.floor);
    let answered = scope.get::<AnsweredNumber>(&(session.epoch, session.number)).is_some();
    if session.number > floor && !answered {
        let reply = Err(Refusal::SessionClosedBefore { session });
        scope.put(AnsweredNumber { epoch: session.epoch, number: session.number, reply });
    }
}
