//! Adds a node to the records or changes its addresses.

use super::{Scope, validate};
use crate::command::PutNode;
use crate::event::Fact;
use crate::{Done, Effect, Epoch, LogTime, MembershipRefusal, Node, NodeId, Refusal, Reply, Settings};

pub(super) fn apply(scope: &mut Scope<'_>, command: &PutNode) -> Reply {
    if command.node == NodeId(0) {
        return Err(Refusal::Invalid("node: 0 is no node".into()));
    }
    validate::text("name", &command.name, 1, 64)?;
    validate::text("peer_address", &command.peer_address, 0, 256)?;
    validate::text("admin_address", &command.admin_address, 0, 256)?;
    validate::text("sftp_address", &command.sftp_address, 0, 256)?;
    if command.public_key.len() > 512 {
        return Err(validate::invalid("public_key", "it is longer than 512 bytes"));
    }
    let known = scope.get::<Node>(&command.node);
    let is_new = known.is_none();
    if is_new && scope.state.was_removed(command.node) {
        return Err(MembershipRefusal::Removed { node: command.node }.into());
    }
    let base = known.map_or_else(|| unregistered(command.node), |row| Node::clone(&row));
    let public_key = if command.public_key.is_empty() { base.public_key.clone() } else { command.public_key.clone() };
    scope.put(Node {
        name: command.name.clone(),
        public_key,
        peer_address: command.peer_address.clone(),
        admin_address: command.admin_address.clone(),
        sftp_address: command.sftp_address.clone(),
        ..base
    });
    if is_new {
        if let Some(settings) = scope.state.settings.clone() {
            let last_node = settings.last_node.max(command.node);
            scope.put_settings(Settings { last_node, ..Settings::clone(&settings) });
        }
        scope.event(Fact::NodeAdded { node: command.node, name: command.name.clone() });
    }
    scope.effect(Effect::Node(command.node));
    Ok(Done::Revision(scope.index))
}

pub(super) fn unregistered(id: NodeId) -> Node {
    Node {
        id,
        name: String::new(),
        public_key: Vec::new(),
        peer_address: String::new(),
        admin_address: String::new(),
        sftp_address: String::new(),
        last_epoch: Epoch(0),
        alive: false,
        leaving: false,
        store: 0,
        start: 0,
        nonce: 0,
        renewal: 0,
        renewed_index: 0,
        renewed_at: LogTime(0),
        floor: 0,
        version: String::new(),
    }
}
