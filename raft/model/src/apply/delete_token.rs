//! Deletes an administration token.

use super::Scope;
use crate::command::DeleteToken;
use crate::event::Fact;
use crate::{Done, Effect, Refusal, Reply, Token};

pub(super) fn apply(scope: &mut Scope<'_>, command: &DeleteToken) -> Reply {
    let name = command.name.clone();
    if scope.remove::<Token>(&name).is_none() {
        return Err(Refusal::NameNotFound { name });
    }
    scope.event(Fact::TokenDeleted { name });
    scope.effect(Effect::Settings);
    Ok(Done::Revision(scope.index))
}
