//! Gives a node's process a new epoch, and ends its last one (`PROTOCOL.md` 1.5).

use super::{Scope, expire, validate};
use crate::command::RegisterNode;
use crate::event::Fact;
use crate::{Done, Effect, Epoch, EpochEnd, MembershipRefusal, Node, Refusal, Reply};

pub(super) fn apply(scope: &mut Scope<'_>, command: &RegisterNode) -> Reply {
    let node = command.node;
    validate::text("version", &command.version, 0, 128)?;
    let Some(row) = scope.get::<Node>(&node) else { return Err(Refusal::NodeNotFound { node }) };
    if row.last_epoch != command.replaces {
        return Err(Refusal::RegistrationOvertaken { node, replaces: command.replaces, actual: row.last_epoch });
    }
    if row.leaving {
        return Err(MembershipRefusal::Removed { node }.into());
    }
    if row.store != 0 && row.store != command.store {
        return Err(MembershipRefusal::OtherStore { node }.into());
    }
    let repeated = command.start == row.start && row.store != 0 && command.nonce != row.nonce;
    if command.start < row.start || repeated {
        return Err(Refusal::StartWentBack { node, start: command.start, registered: row.start });
    }
    if scope.state.meta.last_registration == scope.index {
        return Err(Refusal::RegistrationCollided);
    }
    if row.alive {
        expire::end_epoch(scope, &row, EpochEnd::RegisteredAgain);
    }
    let epoch = Epoch(scope.index);
    scope.state.meta.last_registration = scope.index;
    scope.put(Node {
        last_epoch: epoch,
        alive: true,
        store: command.store,
        start: command.start,
        nonce: command.nonce,
        renewal: 0,
        renewed_index: scope.index,
        renewed_at: scope.time,
        floor: 0,
        version: command.version.clone(),
        ..Node::clone(&row)
    });
    scope.event(Fact::NodeUp { node, epoch });
    scope.effect(Effect::Node(node));
    Ok(Done::Registered { epoch })
}
