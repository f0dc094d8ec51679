//! Settles: from granted to used, back to the account, reported without a grant, credited (4.2, 6.1). Batched over accounts.

use super::decide::decide;
use super::sheet::Sheet;
use super::{Scope, Sender, credit, edit, scan_live};
use crate::command::{AccountSettlement, MAX_CREDITS, MAX_SETTLED_ACCOUNTS, Settle};
use crate::reply::{AccountDone, AccountRefusal};
use crate::{Amount, Done, Refusal, Reply, WaiterId, WaiterState};

/// Most limits and outcomes named in one settlement.
const MAX_PARTS: usize = 4096;

pub(super) fn apply(scope: &mut Scope<'_>, sender: Sender, command: &Settle) -> Reply {
    if command.accounts.len() > MAX_SETTLED_ACCOUNTS {
        return Err(Refusal::Account(AccountRefusal::TooLarge));
    }
    for part in &command.accounts {
        check(part).map_err(Refusal::Account)?;
    }
    for part in &command.accounts {
        // An account that is not there has no ledger to be settled; the others are.
        let _ = edit(scope, part.account, |sheet| {
            settle(sheet, sender, part);
            decide(sheet);
            Ok(AccountDone::Settled)
        });
    }
    Ok(Done::Account(AccountDone::Settled))
}

/// What no honest node sends.
pub(super) fn check(part: &AccountSettlement) -> Result<(), AccountRefusal> {
    let amounts = part.spent.iter().chain(&part.returned).map(|(_, amount)| *amount);
    let credits = part.credits.iter().map(|credit| credit.amount);
    if amounts.chain(credits).chain([part.reported]).any(Amount::is_negative) {
        return Err(AccountRefusal::Negative);
    }
    let parts = part.spent.len() + part.returned.len() + part.seen.len();
    if part.credits.len() > MAX_CREDITS || parts > MAX_PARTS {
        return Err(AccountRefusal::TooLarge);
    }
    Ok(())
}

/// Settles one account. One whose holder row is gone or another changes no number and marks.
pub(super) fn settle(sheet: &mut Sheet<'_>, sender: Sender, part: &AccountSettlement) {
    let key = (sender.node, sender.epoch);
    let Some(holder) = sheet.row.holders.get_mut(&key).filter(|holder| holder.since == part.since) else {
        if !part.spent.is_empty() || !part.reported.is_zero() || !part.credits.is_empty() {
            sheet.mark("settlement of a session that is over");
            scan_live::disturb(sheet);
        }
        return;
    };
    let mut used = part.reported;
    holder.unlimited |= !part.reported.is_zero();
    for (limits, amount) in &part.spent {
        *holder.outstanding.entry(*limits).or_default() -= *amount;
        used += *amount;
    }
    for (limits, amount) in &part.returned {
        let left = holder.outstanding.entry(*limits).or_default();
        *left -= amount.min_each(left.at_least_zero());
    }
    holder.outstanding.retain(|_, amount| !amount.is_zero());
    holder.settled_total += used;
    holder.settled_through = holder.settled_through.max(part.settled_through);
    sheet.row.used += used;
    scan_live::note_settled(sheet, used, part.disturbed);
    sheet.row.activity = sheet.index;
    if !part.reported.is_zero() {
        sheet.row.excused = sheet.index;
    }
    credit::credit_all(sheet, &part.credits);
    if part.mark {
        sheet.mark("over-counted on a node");
    }
    forget_seen(sheet, sender, &part.seen);
    credit::forget_settled(sheet);
    sheet.drop_holder_if_empty(sender.node, sender.epoch);
}

fn forget_seen(sheet: &mut Sheet<'_>, sender: Sender, seen: &[u64]) {
    for number in seen {
        let id = WaiterId { node: sender.node, epoch: sender.epoch, number: *number };
        let over = sheet.row.waiters.get(&id).is_some_and(|waiter| waiter.state != WaiterState::Waiting);
        if over {
            sheet.row.waiters.remove(&id);
        }
    }
}
