//! Puts a node out. Its row stays until its epoch is over: so long it may still serve what its lease covers.

use super::{Scope, expire};
use crate::command::RemoveNode;
use crate::event::Fact;
use crate::{Done, Effect, EpochEnd, MembershipRefusal as Not, Node, NodeId, Refusal, Reply};

pub(super) fn apply(scope: &mut Scope<'_>, command: &RemoveNode) -> Reply {
    let node = command.node;
    let Some(row) = scope.get::<Node>(&node) else {
        // Who asks again wants what goes with a removal, and has it.
        return if scope.state.was_removed(node) { Ok(Done::Nothing) } else { Err(Refusal::NodeNotFound { node }) };
    };
    if !row.leaving {
        may_go(scope, &row, command.lost)?;
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

/// Those that stay must be able to go on: peers refuse a node from its removal on, while consensus still counts its vote. Who is
/// leaving already counts among the members until its row goes, so that removals at one time do not add up to the loss of a quorum.
fn may_go(scope: &Scope<'_>, row: &Node, lost: bool) -> Result<(), Refusal> {
    let node = row.id;
    let stays = |other: &Node| other.id != node && !other.leaving;
    if !scope.state.nodes().any(|other| stays(other)) {
        return Err(Not::LastNode { node }.into());
    }
    // A recovered node is its own quorum, and who never registered has no vote.
    let votes = |other: &Node| other.last_epoch.0 != 0;
    if lost || !votes(row) {
        return Ok(());
    }
    let members = scope.state.nodes().filter(|other| votes(other)).count() as u32;
    let alive = scope.state.nodes().filter(|other| votes(other) && stays(other) && other.alive).count() as u32;
    if alive <= members / 2 {
        return Err(Not::NoMajority { node, alive, members }.into());
    }
    Ok(())
}

/// The end of a node: no id is given twice, so an id at or below the last one without a row says that it was removed.
pub(super) fn forget(scope: &mut Scope<'_>, node: NodeId) {
    scope.remove::<Node>(&node);
    scope.effect(Effect::Node(node));
}
