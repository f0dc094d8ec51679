//! Gives room (4.2): what is needed and, while nobody waits, some ahead. A need that does not fit waits and wants a recall (5.1).

use super::decide::{decide, fits};
use super::sheet::Sheet;
use super::{Scope, Sender, edit};
use crate::command::Grant;
use crate::reply::{AccountDone, AccountRefusal};
use crate::{Amount, FirstGrant, Limits, Reply, Session, Waiter, WaiterId, WaiterState};

/// The smallest grant ahead of need, where there is room for it.
const LEAST_AHEAD: Amount = Amount { bytes: 1 << 20, files: 1 };
/// The largest.
const MOST_AHEAD: Amount = Amount { bytes: 256 << 20, files: 1024 };
/// Asks that may wait in one account.
const MAX_WAITING: usize = 1024;

pub(super) fn apply(scope: &mut Scope<'_>, sender: Sender, command: &Grant) -> Reply {
    edit(scope, command.account, |sheet| grant(sheet, sender, command))
}

fn grant(sheet: &mut Sheet<'_>, sender: Sender, command: &Grant) -> Result<AccountDone, AccountRefusal> {
    if command.need.is_negative() || command.ahead.is_negative() || command.holds.is_negative() {
        return Err(AccountRefusal::Negative);
    }
    sheet.holder(sender)?;
    let limits = sheet.limits_of(&command.username, command.incarnation).ok_or(AccountRefusal::UserGone)?;
    if sheet.row.has_waiting() || !sheet.takes_grants() || !fits(command.need, limits.room(sheet.row.taken())) {
        return if command.need.is_zero() { Ok(nothing(sheet, limits)) } else { wait(sheet, sender, command) };
    }
    let left = limits.room(sheet.row.taken()) - command.need;
    let amount = command.need + ahead(sheet, sender, command.ahead, limits, left);
    sheet.give(sender.node, sender.epoch, limits, amount);
    Ok(AccountDone::Granted { index: sheet.index, limits, amount })
}

/// Room that comes with a session's open: only where nobody waits and grants are given.
pub(super) fn first(sheet: &mut Sheet<'_>, sender: Sender, session: &Session, wanted: Amount) -> Option<FirstGrant> {
    if wanted.is_zero() || !sheet.row.is_limited() || sheet.row.has_waiting() || !sheet.takes_grants() {
        return None;
    }
    let limits = sheet.limits_of(&session.username, session.incarnation)?;
    let left = limits.room(sheet.row.taken());
    let amount = ahead(sheet, sender, wanted, limits, left);
    sheet.give(sender.node, sender.epoch, limits, amount);
    amount.is_positive().then_some(FirstGrant { limits, amount })
}

fn nothing(sheet: &Sheet<'_>, limits: Limits) -> AccountDone {
    AccountDone::Granted { index: sheet.index, limits, amount: Amount::ZERO }
}

/// A share of what is left, so that several nodes find room; exact near the limit.
fn ahead(sheet: &Sheet<'_>, sender: Sender, wanted: Amount, limits: Limits, left: Amount) -> Amount {
    let busy = |(node, holder): (_, &crate::Holder)| node == sender.node || holder.outstanding().is_positive();
    let shares = 2 * sheet.living().filter(|each| busy(*each)).count().max(1) as i64;
    let one = |wanted: i64, limit: i64, left: i64, least: i64, most: i64| {
        if limit == i64::MAX {
            wanted.min(most)
        } else {
            wanted.min((left / shares).clamp(least, most)).min(left).max(0)
        }
    };
    Amount {
        bytes: one(wanted.bytes, limits.bytes, left.bytes, LEAST_AHEAD.bytes, MOST_AHEAD.bytes),
        files: one(wanted.files, limits.files, left.files, LEAST_AHEAD.files, MOST_AHEAD.files),
    }
}

fn wait(sheet: &mut Sheet<'_>, sender: Sender, command: &Grant) -> Result<AccountDone, AccountRefusal> {
    if sheet.row.waiters.len() >= MAX_WAITING {
        return Err(AccountRefusal::TooManyWaiting);
    }
    let waiter = Waiter {
        username: command.username.clone(),
        incarnation: command.incarnation,
        need: command.need,
        holds: command.holds,
        order: command.order,
        time_over: false,
        state: WaiterState::Waiting,
    };
    let id = WaiterId { node: sender.node, epoch: sender.epoch, number: sender.number };
    sheet.row.waiters.insert(id, waiter);
    sheet.serve();
    if sheet.row.waiters.get(&id).is_some_and(|waiter| waiter.state == WaiterState::Waiting) {
        // Answers that began before this ask do not count any more: every holder answers anew.
        sheet.row.recall = sheet.index;
        decide(sheet);
    }
    match sheet.row.waiters.get(&id).map(|waiter| (waiter.state.clone(), waiter.need)) {
        Some((WaiterState::Granted { index, limits }, amount)) => {
            sheet.row.waiters.remove(&id);
            Ok(AccountDone::Granted { index, limits, amount })
        }
        _ => Ok(AccountDone::Waiting),
    }
}
