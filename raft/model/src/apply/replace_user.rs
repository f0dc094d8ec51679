//! Replaces what a caller may say of a user; identity, account and cuts stay.

use super::{Scope, change_user};
use crate::Reply;
use crate::command::ReplaceUser;

pub(super) fn apply(scope: &mut Scope<'_>, command: &ReplaceUser) -> Reply {
    let before = change_user::expect(scope, &command.username, command.expected_revision)?;
    let mut spec = command.spec.clone();
    if spec.password_hash.is_none() && command.keep_password {
        spec.password_hash.clone_from(&before.password_hash);
    }
    change_user::apply(scope, &before, spec)
}
