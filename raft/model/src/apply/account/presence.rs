//! Who uses an account: sessions opened and closed, users placed and limited (4.1, 4.4).

use std::collections::BTreeSet;

use super::decide::decide;
use super::sheet::{Sender, Sheet, edit};
use super::{Scope, grant, scan_live};
use crate::reply::{AccountDone, AccountRefusal};
use crate::{AccountId, Amount, Epoch, FirstGrant, Holder, Limits, NodeId, Refusal, Session, SessionId, State, User};

/// Ended epochs that an account keeps apart. Beyond it those whose processes are over and whose staging is gone are summed into what
/// is used: over-counted until a scan, never under.
const MAX_KEPT_APART: usize = 64;
/// Ended epochs that cannot be summed up yet; at this many no further epoch begins to use the account.
pub(crate) const MAX_ENDED: usize = 256;

/// Refuses a session that would let rows of ended epochs gather without a bound.
pub(in crate::apply) fn may_open(state: &State, account: AccountId, node: NodeId, epoch: Epoch) -> Result<(), Refusal> {
    let Some(row) = state.account(account) else { return Ok(()) };
    // The others are summed up as the session opens.
    let count = state.dead_holders(row).filter(|(node, _, holder)| !is_over(state, *node, holder)).count();
    if count < MAX_ENDED || row.holders.contains_key(&(node, epoch)) {
        return Ok(());
    }
    Err(Refusal::Account(AccountRefusal::TooManyEnded { count: count as u64 }))
}

/// Whether a dead holder's epoch can store or publish nothing any more.
fn is_over(state: &State, node: NodeId, holder: &Holder) -> bool {
    holder.fenced && state.process_is_over(node, holder)
}

/// Sums the oldest of too many ended epochs into what is used. None of them can store or publish anything any more.
pub(super) fn sum_up_ended(sheet: &mut Sheet<'_>) {
    let mut over: Vec<(Epoch, NodeId)> = Vec::new();
    let mut kept = 0;
    for (node, epoch, holder) in sheet.state().dead_holders(&sheet.row) {
        kept += 1;
        if is_over(sheet.state(), node, holder) {
            over.push((epoch, node));
        }
    }
    over.sort_unstable();
    for (epoch, node) in over.into_iter().take(usize::saturating_sub(kept, MAX_KEPT_APART)) {
        if let Some(holder) = sheet.row.holders.remove(&(node, epoch)) {
            sheet.row.used += holder.outstanding();
            sheet.row.uncertain |= holder.unlimited && !holder.settled;
            scan_live::note_gone(sheet, (node, epoch));
            sheet.mark("too many ended epochs to keep apart");
        }
    }
}

/// A session of an epoch is opened on its user's account. Returns the room that it gets with its open, of what it wants.
pub(in crate::apply) fn session_opened(scope: &mut Scope<'_>, session: &Session, wanted: Amount) -> Option<FirstGrant> {
    let SessionId { node, epoch, number } = session.id;
    let start = scope.state.node(node).map_or(0, |node| node.start);
    let mut first = None;
    let _ = edit(scope, session.account, |sheet| {
        sum_up_ended(sheet);
        let limited = sheet.row.is_limited();
        let (index, limited_since) = (sheet.index, sheet.row.limited_since);
        let holder = sheet.row.holders.entry((node, epoch)).or_insert_with(|| Holder {
            since: index,
            start,
            sessions: 0,
            outstanding: Default::default(),
            settled_total: Default::default(),
            last_grant: 0,
            confirmed: if limited { limited_since } else { 0 },
            unlimited: false,
            answer: None,
            settled_through: index,
            fenced: false,
            settled: false,
        });
        holder.sessions += 1;
        holder.unlimited |= !limited;
        sheet.row.activity = index;
        first = grant::first(sheet, Sender { node, epoch, number }, session, wanted);
        Ok(AccountDone::Nothing)
    });
    first
}

/// A session of a living epoch was closed; its deltas and credits were settled before.
pub(in crate::apply) fn session_closed(scope: &mut Scope<'_>, session: &Session) {
    let (node, epoch) = (session.id.node, session.id.epoch);
    if !scope.state.epoch_alive(node, epoch) {
        return;
    }
    let _ = edit(scope, session.account, |sheet| {
        if let Some(holder) = sheet.row.holders.get_mut(&(node, epoch)) {
            holder.sessions = holder.sessions.saturating_sub(1);
        }
        sheet.row.activity = sheet.index;
        sheet.drop_holder_if_empty(node, epoch);
        decide(sheet);
        Ok(AccountDone::Nothing)
    });
}

/// The row of a session whose epoch is over was swept. Its holder stays: it was told nothing when the epoch ended, and is told nothing now.
pub(in crate::apply) fn session_swept(_scope: &mut Scope<'_>, _session: &Session) {}

/// A user was created (`before` is none), changed, or deleted (`after` is none). Its row is changed already, its account's row is there.
/// A new or lowered limit recalls all grants; returns the nodes that must take it up before it binds.
pub(in crate::apply) fn user_changed(
    scope: &mut Scope<'_>,
    before: Option<&User>,
    after: Option<&User>,
) -> BTreeSet<NodeId> {
    let place = |user: &User| (user.account, user.limits());
    let (before, after) = (before.map(place), after.map(place));
    let mut concerned = BTreeSet::new();
    if before == after {
        return concerned;
    }
    let mut accounts: Vec<AccountId> = before.iter().chain(&after).map(|place| place.0).collect();
    accounts.dedup();
    for account in accounts {
        let there = |place: Option<(AccountId, Limits)>| place.filter(|place| place.0 == account).map(|place| place.1);
        let (was, is) = (there(before), there(after));
        let _ = edit(scope, account, |sheet| {
            if limits_changed(sheet, was, is) {
                concerned.extend(sheet.living().map(|(node, _)| node));
            }
            decide(sheet);
            Ok(AccountDone::Nothing)
        });
    }
    concerned
}

/// Whether a limit is new or lower.
fn limits_changed(sheet: &mut Sheet<'_>, was: Option<Limits>, is: Option<Limits>) -> bool {
    let limited = |limits: Option<Limits>| u32::from(limits.is_some_and(|limits| !limits.is_none()));
    let had_limit = sheet.row.is_limited();
    sheet.row.limited_users = (sheet.row.limited_users + limited(is)).saturating_sub(limited(was));
    if !had_limit && sheet.row.is_limited() {
        sheet.row.limited_since = sheet.index;
    }
    if had_limit && !sheet.row.is_limited() {
        // From here on nodes write without grants; if one dies, what it had not reported is unknown.
        let living: Vec<_> = sheet.row.holders.keys().filter(|key| sheet.alive(key.0, key.1)).copied().collect();
        for key in living {
            sheet.row.holders.entry(key).and_modify(|holder| holder.unlimited = true);
        }
    }
    let falls = |was: Limits, is: Limits| is.bytes < was.bytes || is.files < was.files;
    if was.is_some_and(|was| is.is_none_or(|is| falls(was, is))) {
        sheet.row.excused = sheet.index;
    }
    let lowered = match (was, is) {
        (_, None) => false,
        (None, Some(is)) => !is.is_none(),
        (Some(was), Some(is)) => falls(was, is),
    };
    if lowered && !sheet.row.holders.is_empty() {
        sheet.row.recall = sheet.index;
    }
    lowered
}
