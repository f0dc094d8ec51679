//! Creates a user and makes or joins the account of its home.

use super::{Scope, account, root, validate};
use crate::command::CreateUser;
use crate::event::Fact;
use crate::{Done, Effect, Refusal, Reply, User, change};

pub(super) fn apply(scope: &mut Scope<'_>, command: &CreateUser) -> Reply {
    let username = command.username.clone();
    if scope.state.user(&username).is_some() {
        return Err(Refusal::UserExists { username });
    }
    validate::user(&command.spec)?;
    validate::references(scope, &command.spec)?;
    root::check(scope.state, None, &command.spec)?;
    let user = User::create(
        username.clone(),
        command.spec.clone(),
        root::account(scope, &command.spec.home),
        scope.index,
        scope.wall,
    );
    scope.put(user.clone());
    account::user_changed(scope, None, Some(&user));
    let changes = change::changes(None, Some(&command.spec.fields()));
    scope.event(Fact::UserCreated { username: username.clone(), changes });
    scope.effect(Effect::User(username));
    Ok(Done::Revision(scope.index))
}
