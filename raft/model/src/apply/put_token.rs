//! Stores the hash of an administration token.

use super::{Scope, validate};
use crate::change::changes;
use crate::command::PutToken;
use crate::event::Fact;
use crate::{Done, Effect, RecordKind, Refusal, Reply, Token, TokenKind};

pub(super) fn apply(scope: &mut Scope<'_>, command: &PutToken) -> Reply {
    validate::text("name", &command.name, 1, 128)?;
    validate::list("permissions", &command.permissions, 64, 64)?;
    if Token::is_made_name(&command.name) {
        return Err(validate::invalid("name", "login: and key: begin the names of other tokens"));
    }
    let before = scope.get::<Token>(&command.name);
    if !command.replace && before.is_some() {
        return Err(Refusal::NameExists { name: command.name.clone() });
    }
    if before.as_ref().is_none_or(|row| row.hash != command.hash) {
        validate::new_hash(scope, &command.hash)?;
    }
    let (kind, name, revision, now) = (RecordKind::Token, command.name.clone(), scope.index, scope.wall.0);
    let after = Token {
        name: name.clone(),
        hash: command.hash,
        permissions: command.permissions.clone(),
        expires_at: command.expires_at,
        kind: TokenKind::Standing,
        created_at: before.as_ref().map_or(now, |row| row.created_at),
        updated_at: now,
        revision,
    };
    let told = changes(before.as_ref().map(|row| row.fields()).as_ref(), Some(&after.fields()));
    scope.put(after);
    scope.event(match before {
        Some(_) => Fact::RecordUpdated { kind, name, changes: told },
        None => Fact::RecordCreated { kind, name, changes: told },
    });
    scope.effect(Effect::Settings);
    Ok(Done::Revision(revision))
}
