//! Opens a session: the one place where a user's session limit is decided (`PROTOCOL.md` 2.1).

use std::sync::Arc;

use super::{Scope, account, validate};
use crate::command::OpenSession;
use crate::event::Fact;
use crate::{CommandId, Done, Effect, Refusal, Reply, Session, SessionId, SlotHolder, State, User, Username};

/// Sessions that a refusal names.
const MAX_HOLDERS: usize = 16;

pub(super) fn apply(scope: &mut Scope<'_>, id: CommandId, command: &OpenSession) -> Reply {
    let CommandId::Node { node, epoch, number, .. } = id else {
        return Err(Refusal::Invalid("id: a session needs its node's number".into()));
    };
    validate::text("remote", &command.remote, 0, 256)?;
    validate::text("protocol", &command.protocol, 0, 32)?;
    validate::text("method", &command.method, 0, 64)?;
    if command.ahead.is_negative() {
        return Err(Refusal::Invalid("ahead: an amount must not be negative".into()));
    }
    let session = SessionId { node, epoch, number };
    match admit(scope, session, command) {
        Ok(user) => {
            open(scope, session, command, &user);
            Ok(Done::Opened { session })
        }
        Err(refusal) => Err(refused(scope, command, refusal)),
    }
}

fn admit(scope: &Scope<'_>, session: SessionId, command: &OpenSession) -> Result<Arc<User>, Refusal> {
    let username = &command.username;
    let user = scope.get::<User>(username).ok_or_else(|| Refusal::UserNotFound { username: username.clone() })?;
    if moved(&user, command, scope.index) {
        return Err(Refusal::UserChanged { username: username.clone() });
    }
    if user.status == crate::Status::Disabled {
        return Err(Refusal::UserDisabled { username: username.clone() });
    }
    if user.expired(scope.wall) {
        return Err(Refusal::UserExpired { username: username.clone() });
    }
    has_room(scope.state, &user)?;
    account::may_open(scope.state, user.account, session.node, session.epoch)?;
    Ok(user)
}

/// Whether the credential was verified against another record than this. A record changed in this very entry is another:
/// nobody has seen it, and its pointer of cut sessions could not tell those before from those behind.
fn moved(user: &User, command: &OpenSession, index: u64) -> bool {
    user.incarnation != command.incarnation
        || user.credential_revision != command.credential_revision
        || user.incarnation == index
        || user.credential_revision == index
        || user.sessions_cut_through == index
}

/// Whether one more slot fits the limit.
pub(super) fn has_room(state: &State, user: &User) -> Result<(), Refusal> {
    if user.max_sessions == 0 {
        return Ok(());
    }
    let in_use = state.slots_in_use(&user.username);
    if in_use < user.max_sessions {
        return Ok(());
    }
    let holders = holders(state, &user.username);
    Err(Refusal::SessionLimitReached {
        username: user.username.clone(),
        max_sessions: user.max_sessions,
        in_use,
        holders,
    })
}

fn holders(state: &State, username: &Username) -> Vec<SlotHolder> {
    let holder = |session: &Arc<Session>| SlotHolder {
        session: session.id,
        remote: session.remote.clone(),
        opened_at: session.opened_at,
        opened_wall: session.opened_wall,
        slots: session.slots,
    };
    state.oldest_sessions(username, MAX_HOLDERS).iter().map(holder).collect()
}

fn open(scope: &mut Scope<'_>, id: SessionId, command: &OpenSession, user: &User) {
    let mut session = Session {
        id,
        username: command.username.clone(),
        incarnation: user.incarnation,
        credential_revision: user.credential_revision,
        account: user.account,
        opened_index: scope.index,
        opened_at: scope.time,
        opened_wall: scope.wall,
        remote: command.remote.clone(),
        protocol: command.protocol.clone(),
        method: command.method.clone(),
        slots: 1,
        cut: None,
        first_grant: None,
    };
    session.first_grant = account::session_opened(scope, &session, command.ahead);
    scope.put(session);
    debug_assert!(user.max_sessions == 0 || scope.state.slots_in_use(&user.username) <= user.max_sessions);
    let (username, remote) = (command.username.clone(), command.remote.clone());
    scope.event(Fact::SessionOpened { session: id, username, remote });
    scope.effect(Effect::Session(id));
}

/// A refusal that the user's administrator wants to see is an event; one after which the node verifies again is not.
fn refused(scope: &mut Scope<'_>, command: &OpenSession, refusal: Refusal) -> Refusal {
    let reason = match &refusal {
        Refusal::SessionLimitReached { .. } | Refusal::UserDisabled { .. } | Refusal::UserExpired { .. } => {
            refusal.to_string()
        }
        _ => return refusal,
    };
    let (username, remote) = (command.username.clone(), command.remote.clone());
    scope.event(Fact::SessionRefused { username, remote, reason });
    refusal
}
