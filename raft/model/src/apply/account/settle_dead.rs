//! A process that outlived its lease settles its dead epoch (7.1). After a scan it changes no number and marks.

use super::decide::decide;
use super::{Scope, credit, edit, scan_live};
use crate::command::{MAX_CREDITS, SettleDead};
use crate::reply::{AccountDone, AccountRefusal};
use crate::{Refusal, Reply};

pub(super) fn apply(scope: &mut Scope<'_>, command: &SettleDead) -> Reply {
    if scope.state.epoch_alive(command.node, command.epoch) {
        return Err(Refusal::Invalid("epoch: it has not ended".into()));
    }
    if command.total.is_negative() || command.credits.iter().any(|credit| credit.amount.is_negative()) {
        return Err(Refusal::Account(AccountRefusal::Negative));
    }
    if command.credits.len() > MAX_CREDITS {
        return Err(Refusal::Account(AccountRefusal::TooLarge));
    }
    edit(scope, command.account, |sheet| {
        let key = (command.node, command.epoch);
        let Some(holder) = sheet.row.holders.get_mut(&key).filter(|holder| holder.since == command.since) else {
            sheet.mark("settlement of an epoch that ended before a scan");
            return Ok(AccountDone::Nothing);
        };
        if holder.settled {
            return Ok(AccountDone::Nothing);
        }
        // A total, so that what the epoch settled while it lived is not counted again, and a repetition adds nothing.
        let late = (command.total - holder.settled_total).at_least_zero();
        // Whoever has lost count may have spent all that was granted: too much is counted until a scan, never too little.
        let has_lost_count = !holder.settled_total.fits(command.total);
        let late = if has_lost_count { late.max_each(holder.outstanding()) } else { late };
        holder.settled_total += late;
        holder.outstanding.clear();
        holder.settled = true;
        let unlimited = holder.unlimited;
        scan_live::note_gone(sheet, key);
        sheet.row.used += late;
        sheet.row.activity = sheet.index;
        credit::credit_all(sheet, &command.credits);
        sheet.row.uncertain |= unlimited;
        if unlimited {
            sheet.row.excused = sheet.index;
        }
        if command.mark || unlimited {
            sheet.mark("a node's lease ended while its sessions used the account");
        }
        if has_lost_count {
            sheet.mark("a node lost count of what it had settled");
        }
        credit::forget_settled(sheet);
        sheet.drop_holder_if_empty(command.node, command.epoch);
        decide(sheet);
        Ok(AccountDone::Settled)
    })
}
