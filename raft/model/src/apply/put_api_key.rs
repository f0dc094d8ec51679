//! Makes an API key, or changes what is said of one. Its text and hash never change.

use std::sync::Arc;

use super::kept::called;
use super::{Scope, tokens, validate};
use crate::change::changes;
use crate::command::{Expected, PutApiKey};
use crate::event::Fact;
use crate::{Admin, Done, Effect, RecordKind, Refusal, Reply, Token, TokenKind};

pub(super) fn apply(scope: &mut Scope<'_>, command: &PutApiKey) -> Reply {
    let name = called(RecordKind::ApiKey, command.id.as_str());
    let before = scope.get::<Token>(&Token::api_key_name(&command.id));
    let hash = match (command.expected, &before, command.hash) {
        (Expected::Absent, Some(_), _) => return Err(Refusal::NameExists { name }),
        (Expected::Absent, None, None) => return Err(validate::invalid("hash", "it is missing")),
        (Expected::Absent, None, Some(hash)) => {
            validate::new_hash(scope, &hash)?;
            hash
        }
        (_, None, _) => return Err(Refusal::NameNotFound { name }),
        (Expected::Revision(expected), Some(row), _) if expected != row.revision => {
            return Err(Refusal::RevisionMismatch { expected, actual: row.revision });
        }
        (_, Some(row), _) => row.hash,
    };
    validate::text("name", &command.label, 0, 256)?;
    validate::text("description", &command.description, 0, validate::MAX_TEXT)?;
    check_admin(scope, command, before.as_deref())?;
    write(scope, command, hash, before)
}

fn check_admin(scope: &Scope<'_>, command: &PutApiKey, before: Option<&Token>) -> Result<(), Refusal> {
    let Some(admin) = &command.admin else { return Ok(()) };
    if scope.get::<Admin>(admin).is_none() {
        return Err(validate::invalid("admin", format_args!("admin {admin} does not exist")));
    }
    let newly = before.and_then(Token::admin) != Some(admin);
    if newly && tokens::keys(scope, admin) >= tokens::MAX_KEYS {
        return Err(validate::invalid(
            "admin",
            format_args!("admin {admin} has {} API keys already", tokens::MAX_KEYS),
        ));
    }
    Ok(())
}

fn write(scope: &mut Scope<'_>, command: &PutApiKey, hash: [u8; 32], before: Option<Arc<Token>>) -> Reply {
    let (revision, now, kind) = (scope.index, scope.wall.0, RecordKind::ApiKey);
    let after = Token {
        name: Token::api_key_name(&command.id),
        hash,
        permissions: Vec::new(),
        expires_at: command.expires_at,
        kind: TokenKind::ApiKey {
            id: command.id.clone(),
            label: command.label.clone(),
            description: command.description.clone(),
            admin: command.admin.clone(),
        },
        created_at: before.as_ref().map_or(now, |row| row.created_at),
        updated_at: now,
        revision,
    };
    let told = changes(before.as_ref().map(|row| row.fields()).as_ref(), Some(&after.fields()));
    if told.is_empty()
        && let Some(before) = before
    {
        return Ok(Done::Revision(before.revision));
    }
    scope.put(after);
    let name = command.id.to_string();
    scope.event(match before {
        Some(_) => Fact::RecordUpdated { kind, name, changes: told },
        None => Fact::RecordCreated { kind, name, changes: told },
    });
    scope.effect(Effect::Settings);
    Ok(Done::Revision(revision))
}
