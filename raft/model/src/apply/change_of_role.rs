//! A change of a user by an admin with a role. The role is the border between tenants: what lies beyond it is neither changed nor
//! reached through a home folder.

use super::{Scope, create_user, delete_user, replace_user, root, update_user};
use crate::command::{ChangeOfRole, UserChange};
use crate::{Name, Refusal, Reply, Root, User, Username};

pub(super) fn apply(scope: &mut Scope<'_>, command: &ChangeOfRole) -> Reply {
    let role = &command.role;
    match &command.change {
        UserChange::Create(create) => {
            if scope.state.user(&create.username).is_none() {
                stays(role, create.spec.role.as_ref())?;
                root::check_own(scope.state, role, &create.username, &create.spec.home)?;
            }
            create_user::apply(scope, create)
        }
        UserChange::Update(update) => {
            let patch = &update.patch;
            let role_after = patch.role.as_ref().map_or(Some(role), Option::as_ref);
            may_change(scope, role, &update.username, role_after, patch.home.as_ref())?;
            update_user::apply(scope, update)
        }
        UserChange::Replace(replace) => {
            may_change(scope, role, &replace.username, replace.spec.role.as_ref(), Some(&replace.spec.home))?;
            replace_user::apply(scope, replace)
        }
        UserChange::Delete(delete) => {
            own(scope, role, &delete.username)?;
            delete_user::apply(scope, delete)
        }
    }
}

/// A user of the role; of the others it is not even said that they are there.
fn own<'a>(scope: &'a Scope<'_>, role: &Name, username: &Username) -> Result<&'a User, Refusal> {
    let user = scope.state.user(username).filter(|user| user.role.as_ref() == Some(role));
    user.map(|user| &**user).ok_or_else(|| Refusal::UserNotFound { username: username.clone() })
}

/// Who lives somewhere already may stay there.
fn may_change(
    scope: &Scope<'_>,
    role: &Name,
    username: &Username,
    role_after: Option<&Name>,
    home_after: Option<&Root>,
) -> Result<(), Refusal> {
    let user = own(scope, role, username)?;
    stays(role, role_after)?;
    match home_after.filter(|home| **home != user.home) {
        Some(home) => root::check_own(scope.state, role, username, home),
        None => Ok(()),
    }
}

fn stays(role: &Name, after: Option<&Name>) -> Result<(), Refusal> {
    if after == Some(role) {
        return Ok(());
    }
    Err(super::validate::invalid("role", format_args!("users of an admin with the role {role} have that role")))
}
