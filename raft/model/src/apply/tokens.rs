//! Tokens that belong to an admin: how many there may be, and what ends them.

use super::Scope;
use crate::{Name, Token, TokenKind};

/// Tokens of logins that one admin may hold; the one that expires first makes room.
pub(super) const MAX_LOGINS: usize = 64;
/// API keys that name one admin.
pub(super) const MAX_KEYS: usize = 64;

/// Names of an admin's tokens, those first that expire first.
fn of_admin(scope: &Scope<'_>, admin: &Name) -> Vec<(String, u64, bool)> {
    let from = (admin.clone(), 0, String::new());
    let rows = scope.state.indices.tokens_by_admin.range(from..).take_while(|row| row.0 == *admin);
    let known = rows.take(MAX_LOGINS + MAX_KEYS).filter_map(|row| scope.state.tokens.get(&row.2));
    known.map(|row| (row.name.clone(), row.expires_at, matches!(row.kind, TokenKind::Login { .. }))).collect()
}

pub(super) fn remove_all(scope: &mut Scope<'_>, admin: &Name) {
    for (name, ..) in of_admin(scope, admin) {
        scope.remove::<Token>(&name);
    }
}

pub(super) fn remove_logins(scope: &mut Scope<'_>, admin: &Name) {
    for (name, _, is_login) in of_admin(scope, admin) {
        if is_login {
            scope.remove::<Token>(&name);
        }
    }
}

/// Removes what has expired, and more if the admin has too many.
pub(super) fn make_room(scope: &mut Scope<'_>, admin: &Name) {
    let logins: Vec<_> = of_admin(scope, admin).into_iter().filter(|(_, _, is_login)| *is_login).collect();
    let surplus = (logins.len() + 1).saturating_sub(MAX_LOGINS);
    let now = scope.wall.0;
    for (at, (name, expires_at, _)) in logins.into_iter().enumerate() {
        if at < surplus || expires_at <= now {
            scope.remove::<Token>(&name);
        }
    }
}

/// How many API keys name the admin.
pub(super) fn keys(scope: &Scope<'_>, admin: &Name) -> usize {
    of_admin(scope, admin).iter().filter(|(_, _, is_login)| !is_login).count()
}
