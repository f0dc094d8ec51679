//! Ends an epoch whose lease is over, unless it was renewed since (`PROTOCOL.md` 1.3).

use super::{Scope, remove_node};
use crate::command::Expire;
use crate::event::Fact;
use crate::{DeadEpoch, Done, Effect, EpochEnd, Node, Refusal, Reply};

pub(super) fn apply(scope: &mut Scope<'_>, command: &Expire) -> Reply {
    let node = command.node;
    let Some(row) = scope.get::<Node>(&node) else { return Err(Refusal::NodeNotFound { node }) };
    if !row.alive || row.last_epoch != command.epoch || row.renewal > command.last_renewal {
        return Ok(Done::Nothing);
    }
    end_epoch(scope, &row, EpochEnd::LeaseExpired);
    if row.leaving {
        remove_node::forget(scope, node);
    } else {
        scope.put(Node { alive: false, ..Node::clone(&row) });
    }
    Ok(Done::Revision(scope.index))
}

/// Notes that an epoch is over. The node's row is the pointer that frees the slots; the rows of its sessions are swept later.
pub(super) fn end_epoch(scope: &mut Scope<'_>, row: &Node, end: EpochEnd) {
    scope.put(DeadEpoch { epoch: row.last_epoch, node: row.id, end });
    scope.event(Fact::NodeDown { node: row.id, epoch: row.last_epoch });
    scope.effect(Effect::Node(row.id));
}
