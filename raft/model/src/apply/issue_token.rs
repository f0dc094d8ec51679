//! Makes the token of an admin's login.

use super::{Scope, tokens, validate};
use crate::command::IssueToken;
use crate::event::Fact;
use crate::{Admin, Done, Effect, Refusal, Reply, Status, Token, TokenKind};

pub(super) fn apply(scope: &mut Scope<'_>, command: &IssueToken) -> Reply {
    let admin = command.admin.clone();
    let row = scope.get::<Admin>(&admin).filter(|row| row.spec.status == Status::Enabled);
    let row = row.ok_or_else(|| Refusal::NameNotFound { name: format!("admin {admin}") })?;
    if row.revision != command.revision {
        return Err(Refusal::RevisionMismatch { expected: command.revision, actual: row.revision });
    }
    validate::new_hash(scope, &command.hash)?;
    tokens::make_room(scope, &admin);
    let (revision, now) = (scope.index, scope.wall.0);
    scope.put(Token {
        name: Token::login_name(&admin, &command.hash),
        hash: command.hash,
        permissions: Vec::new(),
        expires_at: command.expires_at,
        kind: TokenKind::Login { admin: admin.clone() },
        created_at: now,
        updated_at: now,
        revision,
    });
    scope.event(Fact::AdminLoggedIn { admin: admin.to_string(), expires_at: command.expires_at });
    scope.effect(Effect::Settings);
    Ok(Done::Revision(revision))
}
