//! Cuts sessions: single marks, or one pointer for all sessions of a user. Nothing here is ever unmarked (`PROTOCOL.md` 3.1).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Scope;
use crate::event::Fact;
use crate::{CutReason, Effect, NodeId, Session, User, Username};

/// Sessions that one command marks or reports one by one; beyond, the user's pointer speaks for all.
/// Each costs up to five rows, and a command may touch 2,000.
const MAX_MARKS: usize = 360;

/// Marks one session.
pub(super) fn mark(scope: &mut Scope<'_>, row: &Session, reason: CutReason) {
    scope.put(Session { cut: Some(reason), ..row.clone() });
    report(scope, row, reason);
}

fn report(scope: &mut Scope<'_>, row: &Session, reason: CutReason) {
    scope.event(Fact::SessionCut { session: row.id, username: row.username.clone(), reason });
    scope.effect(Effect::Session(row.id));
}

/// Reports sessions of a user that the pointer, or the user's end, cuts, if they are few. Call it **before** the user's row changes.
pub(super) fn report_all(scope: &mut Scope<'_>, username: &Username, reason: CutReason) {
    let Some(sessions) = few_uncut(scope, username) else { return };
    for row in sessions {
        report(scope, &row, reason);
    }
}

/// The user's sessions that are not cut, newest first; `None` if they are too many to look at.
fn few_uncut(scope: &mut Scope<'_>, username: &Username) -> Option<Vec<Arc<Session>>> {
    let count: u32 = scope.state.user_slots(username).map(|(_, _, count)| count.sessions).sum();
    if count as usize > MAX_MARKS || !scope.heavy_allowed() {
        return None;
    }
    scope.meter.touch(u64::from(count));
    let mut sessions = scope.state.newest_sessions(username, MAX_MARKS);
    sessions.retain(|row| scope.state.session_mark(row).is_none());
    Some(sessions)
}

/// What a lowered limit ends.
pub(super) enum Surplus {
    None,
    /// These, newest first.
    Sessions(Vec<Arc<Session>>),
    /// Too many to mark: all sessions of the user.
    All,
}

/// Which sessions do not fit a user's new limit. The newest go first; sessions that are cut already do not count.
pub(super) fn surplus(scope: &mut Scope<'_>, user: &User, max_sessions: u32) -> Surplus {
    if let Some(uncut) = few_uncut(scope, &user.username) {
        let slots: u32 = uncut.iter().map(|row| row.slots).sum();
        return of_newest(uncut.into_iter(), slots.saturating_sub(max_sessions));
    }
    // With very many sessions the counts decide. They take sessions that the pointer cut for standing: more may end, never fewer.
    let uncut =
        scope.state.user_slots(&user.username).map(|(_, _, count)| count.slots - count.marked_slots).sum::<u32>();
    let over = uncut.saturating_sub(max_sessions);
    if over as usize > MAX_MARKS || !scope.heavy_allowed() {
        return if over == 0 { Surplus::None } else { Surplus::All };
    }
    let newest = scope.state.newest_sessions(&user.username, MAX_MARKS);
    scope.meter.touch(newest.len() as u64);
    let uncut = newest.into_iter().filter(|row| row.cut.is_none() && user.cuts(row.opened_index).is_none());
    match of_newest(uncut, over) {
        Surplus::Sessions(rows) if rows.iter().map(|row| row.slots).sum::<u32>() < over => Surplus::All,
        Surplus::None => Surplus::All,
        found => found,
    }
}

fn of_newest(uncut: impl Iterator<Item = Arc<Session>>, over: u32) -> Surplus {
    let mut left = over;
    let take = uncut.take_while(|row| {
        let wanted = left > 0;
        left = left.saturating_sub(row.slots);
        wanted
    });
    let rows: Vec<_> = take.collect();
    if rows.is_empty() { Surplus::None } else { Surplus::Sessions(rows) }
}

/// Marks what a lowered limit ends and names the nodes.
pub(super) fn mark_surplus(scope: &mut Scope<'_>, rows: &[Arc<Session>]) -> BTreeSet<NodeId> {
    for row in rows {
        mark(scope, row, CutReason::SessionLimitLowered);
    }
    rows.iter().map(|row| row.id.node).collect()
}
