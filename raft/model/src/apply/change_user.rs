//! Changes a user's row: what update and replacement have in common. Decides what the change cuts (`PROTOCOL.md` 3.1).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::cut::{self, Surplus};
use super::{Scope, account, narrowing, root, validate};
use crate::event::Fact;
use crate::{CutReason, Done, Effect, LogIndex, NodeId, Refusal, Reply, User, UserSpec, Username, change};

/// The user's row, if it is as the caller expects.
pub(super) fn expect(scope: &Scope<'_>, username: &Username, expected: Option<LogIndex>) -> Result<Arc<User>, Refusal> {
    let user = scope.get::<User>(username).ok_or_else(|| Refusal::UserNotFound { username: username.clone() })?;
    match expected {
        Some(expected) if expected != user.revision => {
            Err(Refusal::RevisionMismatch { expected, actual: user.revision })
        }
        _ => Ok(user),
    }
}

pub(super) fn apply(scope: &mut Scope<'_>, before: &User, spec: UserSpec) -> Reply {
    validate::user(&spec)?;
    validate::references(scope, &spec)?;
    let was = before.spec();
    if was == spec {
        return Ok(answer(scope, before, BTreeSet::new()));
    }
    let changes = change::changes(Some(&was.fields()), Some(&spec.fields()));
    root::check(scope.state, Some(before), &spec)?;
    let mut after = changed(scope, before, spec);
    let mut nodes = cut(scope, before, &mut after);
    scope.put(after.clone());
    nodes.extend(account::user_changed(scope, Some(before), Some(&after)));
    scope.event(Fact::UserUpdated { username: after.username.clone(), changes });
    scope.effect(Effect::User(after.username.clone()));
    Ok(answer(scope, &after, nodes))
}

fn changed(scope: &mut Scope<'_>, before: &User, spec: UserSpec) -> User {
    let account = if spec.home == before.home { before.account } else { root::account(scope, &spec.home) };
    let mut after = before.with(spec, account);
    after.revision = scope.index;
    after.updated_at = scope.wall.0;
    if narrowing::concerns_logins(before, &after) {
        after.credential_revision = scope.index;
    }
    after
}

/// Cuts what the change takes away. Names the nodes of sessions that it marked; those of the pointer are found by `answer`.
fn cut(scope: &mut Scope<'_>, before: &User, after: &mut User) -> BTreeSet<NodeId> {
    if let Some(reason) = narrowing::reason(before, after, scope.wall) {
        cut_all(scope, after, reason);
        return BTreeSet::new();
    }
    if !narrowing::lowers_sessions(before, after) {
        return BTreeSet::new();
    }
    match cut::surplus(scope, before, after.max_sessions) {
        Surplus::None => BTreeSet::new(),
        Surplus::Sessions(rows) => cut::mark_surplus(scope, &rows),
        Surplus::All => {
            cut_all(scope, after, CutReason::SessionLimitLowered);
            BTreeSet::new()
        }
    }
}

fn cut_all(scope: &mut Scope<'_>, after: &mut User, reason: CutReason) {
    cut::report_all(scope, &after.username, reason);
    after.sessions_cut_through = scope.index;
    after.cut_reason = Some(reason);
}

/// Names all nodes with sessions that the user's pointer cuts, by this command or an earlier one: a caller that repeats itself wants
/// to know that they are gone.
fn answer(scope: &Scope<'_>, user: &User, mut nodes: BTreeSet<NodeId>) -> Done {
    nodes.extend(scope.state.nodes_with_cuts(&user.username));
    if nodes.is_empty() {
        return Done::Revision(user.revision);
    }
    Done::Revoked { revision: user.revision, nodes: nodes.into_iter().collect() }
}
