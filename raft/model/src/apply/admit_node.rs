//! Lets a node in for a join token, and gives it an id that was never used.

use super::put_node::unregistered;
use super::{Scope, validate};
use crate::command::AdmitNode;
use crate::event::Fact;
use crate::{Done, Effect, MembershipRefusal as Not, Node, NodeId, Refusal, Reply, Settings};

/// Consensus among more than a handful of voters gains nothing; the rest are learners that serve.
pub(crate) const MOST_NODES: usize = 64;

pub(super) fn apply(scope: &mut Scope<'_>, command: &AdmitNode) -> Reply {
    validate::text("name", &command.name, 1, 64)?;
    validate::text("peer_address", &command.peer_address, 1, 256)?;
    validate::text("admin_address", &command.admin_address, 0, 256)?;
    validate::text("sftp_address", &command.sftp_address, 0, 256)?;
    if command.public_key.is_empty() || command.public_key.len() > 512 {
        return Err(validate::invalid("public_key", "it must have between 1 and 512 bytes"));
    }
    let Some(settings) = scope.state.settings.clone() else { return Err(Refusal::NotInitialised) };
    let mut settings = Settings::clone(&settings);
    let token = settings.join_tokens.iter_mut().find(|token| token.hash == command.token_hash);
    let token = token.ok_or(Not::UnknownToken)?;
    let node = match &token.redeemed {
        Some((node, key)) if *key != command.public_key => return Err(Not::TokenUsed { node: *node }.into()),
        Some((node, _)) if scope.state.node(*node).is_none_or(|row| row.leaving) => {
            return Err(Not::Removed { node: *node }.into());
        }
        Some((node, _)) => *node,
        None if token.expires <= scope.time => return Err(Not::TokenExpired.into()),
        None => new_node(scope, command)?,
    };
    token.redeemed = Some((node, command.public_key.clone()));
    settings.last_node = settings.last_node.max(node);
    scope.put_settings(settings);
    scope.effect(Effect::Node(node));
    scope.effect(Effect::Settings);
    Ok(Done::Admitted { node })
}

fn new_node(scope: &mut Scope<'_>, command: &AdmitNode) -> Result<NodeId, Refusal> {
    if scope.state.nodes.len() >= MOST_NODES {
        return Err(Not::TooManyNodes { most: MOST_NODES as u32 }.into());
    }
    for row in scope.state.nodes.rows() {
        if row.name == command.name {
            return Err(Not::NameTaken { name: row.name.clone(), node: row.id }.into());
        }
        if row.peer_address == command.peer_address {
            return Err(Not::AddressTaken { address: row.peer_address.clone(), node: row.id }.into());
        }
        if row.public_key == command.public_key {
            return Err(Not::KeyTaken { node: row.id }.into());
        }
    }
    scope.meter.touch(scope.state.nodes.len() as u64);
    let last = scope.state.settings.as_ref().map_or(0, |settings| settings.last_node.0);
    let id = NodeId(last + 1);
    scope.put(Node {
        name: command.name.clone(),
        public_key: command.public_key.clone(),
        peer_address: command.peer_address.clone(),
        admin_address: command.admin_address.clone(),
        sftp_address: command.sftp_address.clone(),
        ..unregistered(id)
    });
    scope.event(Fact::NodeAdded { node: id, name: command.name.clone() });
    Ok(id)
}
