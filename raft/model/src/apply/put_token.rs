//! Stores the hash of an administration token.

use super::{Scope, validate};
use crate::command::PutToken;
use crate::event::Fact;
use crate::{Done, Effect, Refusal, Reply, Token};

pub(super) fn apply(scope: &mut Scope<'_>, command: &PutToken) -> Reply {
    validate::text("name", &command.name, 1, 128)?;
    validate::list("permissions", &command.permissions, 64, 64)?;
    if !command.replace && scope.state.token(&command.name).is_some() {
        return Err(Refusal::NameExists { name: command.name.clone() });
    }
    let (name, revision) = (command.name.clone(), scope.index);
    scope.put(Token {
        name: name.clone(),
        hash: command.hash,
        permissions: command.permissions.clone(),
        expires_at: command.expires_at,
        revision,
    });
    scope.event(Fact::TokenChanged { name });
    scope.effect(Effect::Settings);
    Ok(Done::Revision(revision))
}
