//! Takes each command once: a repeated id answers the same and does nothing (`PROTOCOL.md` 2.4, `DESIGN.md` 3).

use super::{Scope, dispatch};
use crate::{
    AnsweredNumber, AnsweredRequest, Command, CommandId, Done, Envelope, Epoch, Node, NodeId, Refusal, Reply, RequestId,
};

/// How far ahead of the entry's wall clock a request id may lie.
const MAX_AHEAD_MS: u64 = 5 * 60 * 1_000;
/// Numbers above the floor that a node may have in use.
pub(crate) const NUMBER_WINDOW: u64 = 4_096;
/// Replies at or below the floor that one command clears away; more than one, so that the backlog shrinks.
const MAX_CLEARED: usize = 64;
/// Replies of requests that one command evicts.
const MAX_EVICTED: usize = 4;

pub(super) fn apply(scope: &mut Scope<'_>, envelope: &Envelope) -> Reply {
    match envelope.id {
        CommandId::Unnumbered => dispatch(scope, envelope.id, &envelope.command),
        CommandId::Request(id) => of_request(scope, id, envelope),
        CommandId::Node { node, epoch, number, answered_below } => {
            of_node(scope, (node, epoch), number, answered_below, envelope)
        }
    }
}

fn of_request(scope: &mut Scope<'_>, id: RequestId, envelope: &Envelope) -> Reply {
    #[cfg(feature = "planted-bugs")]
    if crate::planted::is("double-apply") {
        return dispatch(scope, envelope.id, &envelope.command);
    }
    if let Some(answered) = scope.get::<AnsweredRequest>(&id) {
        return answered.reply.clone();
    }
    if id <= scope.state.meta.request_floor {
        return Err(Refusal::RequestExpired);
    }
    if id.unix_ms() > scope.wall.0.saturating_add(MAX_AHEAD_MS) {
        return Err(Refusal::RequestFromFuture);
    }
    let reply = dispatch(scope, envelope.id, &envelope.command);
    if scope.state.settings.is_some() {
        scope.put(AnsweredRequest { id, reply: reply.clone() });
        evict_requests(scope);
    }
    reply
}

fn evict_requests(scope: &mut Scope<'_>) {
    let window = scope.state.settings.as_ref().map_or(1, |settings| settings.request_window.max(1));
    for _ in 0..MAX_EVICTED {
        if scope.state.answered_requests.len() as u64 <= window {
            return;
        }
        let Some(smallest) = scope.state.answered_requests.first().map(|row| row.id) else { return };
        scope.remove::<AnsweredRequest>(&smallest);
        scope.state.meta.request_floor = scope.state.meta.request_floor.max(smallest);
    }
}

fn of_node(
    scope: &mut Scope<'_>,
    (node, epoch): (NodeId, Epoch),
    number: u64,
    answered_below: u64,
    envelope: &Envelope,
) -> Reply {
    let Some(row) = scope.get::<Node>(&node) else { return Err(Refusal::NodeNotFound { node }) };
    if !scope.state.epoch_alive(node, epoch) {
        // The epoch's end has closed the session already.
        let closed = matches!(envelope.command, Command::CloseSession(_));
        return if closed { Ok(Done::Nothing) } else { Err(Refusal::StaleEpoch { node, epoch }) };
    }
    if number <= row.floor {
        return Err(Refusal::NumberForgotten { number });
    }
    if let Some(answered) = scope.get::<AnsweredNumber>(&(epoch, number)) {
        return answered.reply.clone();
    }
    // A node does not know the answer of the very command it sends.
    let floor = row.floor.max(answered_below.min(number).saturating_sub(1));
    if number > floor.saturating_add(NUMBER_WINDOW) {
        return Err(Refusal::NumberTooFar { number, window: NUMBER_WINDOW });
    }
    if floor > row.floor {
        scope.put(Node { floor, ..Node::clone(&row) });
    }
    clear_answered(scope, epoch, floor, MAX_CLEARED);
    let reply = dispatch(scope, envelope.id, &envelope.command);
    scope.put(AnsweredNumber { epoch, number, reply: reply.clone() });
    reply
}

/// Removes replies of an epoch up to a number, smallest first; returns how many it removed.
pub(super) fn clear_answered(scope: &mut Scope<'_>, epoch: Epoch, through: u64, at_most: usize) -> usize {
    let rows = scope.state.answered_numbers.range((epoch, 0)..=(epoch, through));
    let numbers: Vec<u64> = rows.take(at_most).map(|row| row.number).collect();
    for number in &numbers {
        scope.remove::<AnsweredNumber>(&(epoch, *number));
    }
    numbers.len()
}
