//! Deletes an administration token.

use super::Scope;
use crate::change::changes;
use crate::command::DeleteToken;
use crate::event::Fact;
use crate::{Done, Effect, RecordKind, Refusal, Reply, Token, TokenKind};

pub(super) fn apply(scope: &mut Scope<'_>, command: &DeleteToken) -> Reply {
    let name = command.name.clone();
    let Some(row) = scope.get::<Token>(&name) else { return Err(Refusal::NameNotFound { name }) };
    match command.expected_revision {
        Some(expected) if expected != row.revision => {
            return Err(Refusal::RevisionMismatch { expected, actual: row.revision });
        }
        _ => {}
    }
    scope.remove::<Token>(&name);
    let (kind, name) = match &row.kind {
        TokenKind::ApiKey { id, .. } => (RecordKind::ApiKey, id.to_string()),
        _ => (RecordKind::Token, name),
    };
    scope.event(Fact::RecordDeleted { kind, name, changes: changes(Some(&row.fields()), None) });
    scope.effect(Effect::Settings);
    Ok(Done::Revision(scope.index))
}
