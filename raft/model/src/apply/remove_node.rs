//! Puts a node out. Its row stays until its epoch is over: so long it may still serve what its lease covers.

use super::{Scope, expire};
use crate::command::RemoveNode;
use crate::event::Fact;
use crate::{Done, Effect, EpochEnd, MembershipRefusal as Not, Node, NodeId, Refusal, Reply};

pub(super) fn apply(scope: &mut Scope<'_>, command: &RemoveNode) -> Reply {
    let node = command.node;
    let Some(row) = scope.get::<Node>(&node) else {
        let was_there = scope.state.was_removed(node);
        return Err(if was_there { Not::Removed { node }.into() } else { Refusal::NodeNotFound { node } });
    };
    if !row.leaving {
        let stays = |other: &Node| other.id != node && !other.leaving;
        if !scope.state.nodes().any(|other| stays(other)) {
            return Err(Not::LastNode { node }.into());
        }
        scope.event(Fact::NodeRemoved { node, name: row.name.clone() });
    }
    scope.effect(Effect::Node(node));
    if row.alive && !command.lost {
        scope.put(Node { leaving: true, ..Node::clone(&row) });
        return Ok(Done::Revision(scope.index));
    }
    if row.alive {
        expire::end_epoch(scope, &row, EpochEnd::NodeRemoved);
    }
    forget(scope, node);
    Ok(Done::Revision(scope.index))
}

/// The end of a node: no id is given twice, so an id at or below the last one without a row says that it was removed.
pub(super) fn forget(scope: &mut Scope<'_>, node: NodeId) {
    scope.remove::<Node>(&node);
    scope.effect(Effect::Node(node));
}
