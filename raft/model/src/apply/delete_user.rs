//! Deletes a user. The sessions are cut by the row's absence; the account keeps what is stored.

use super::{Scope, account, change_user, cut};
use crate::command::DeleteUser;
use crate::event::Fact;
use crate::{CutReason, Done, Effect, Reply, User, change};

pub(super) fn apply(scope: &mut Scope<'_>, command: &DeleteUser) -> Reply {
    let user = change_user::expect(scope, &command.username, command.expected_revision)?;
    let username = user.username.clone();
    cut::report_all(scope, &username, CutReason::UserDeleted);
    scope.remove::<User>(&username);
    let mut nodes: std::collections::BTreeSet<_> = scope.state.nodes_of_user(&username).into_iter().collect();
    nodes.extend(account::user_changed(scope, Some(&user), None));
    let changes = change::changes(Some(&user.spec().fields()), None);
    scope.event(Fact::UserDeleted { username: username.clone(), changes });
    scope.effect(Effect::User(username));
    let revision = scope.index;
    Ok(if nodes.is_empty() {
        Done::Revision(revision)
    } else {
        Done::Revoked { revision, nodes: nodes.into_iter().collect() }
    })
}
