//! Changes some fields of a user. Merged here, so that two changes of different fields do not undo each other.

use super::{Scope, change_user};
use crate::Reply;
use crate::command::UpdateUser;

pub(super) fn apply(scope: &mut Scope<'_>, command: &UpdateUser) -> Reply {
    let before = change_user::expect(scope, &command.username, command.expected_revision)?;
    let mut spec = before.spec();
    command.patch.clone().apply(&mut spec);
    change_user::apply(scope, &before, spec)
}
