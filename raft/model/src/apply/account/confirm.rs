//! A node confirms a new limit: deltas reported, grants only from here (4.4).

use super::decide::decide;
use super::settle::{check, settle};
use super::{Scope, Sender, edit};
use crate::command::ConfirmLimited;
use crate::reply::{AccountDone, AccountRefusal};
use crate::{Limits, Refusal, Reply};

pub(super) fn apply(scope: &mut Scope<'_>, sender: Sender, command: &ConfirmLimited) -> Reply {
    check(&command.settlement).map_err(Refusal::Account)?;
    if command.held.is_negative() {
        return Err(Refusal::Account(AccountRefusal::Negative));
    }
    edit(scope, command.settlement.account, |sheet| {
        let holder = sheet.holder(sender)?;
        if holder.since != command.settlement.since {
            return Err(AccountRefusal::NoSession);
        }
        // Held first: the settlement would drop a row that holds nothing.
        *holder.outstanding.entry(Limits::NONE).or_default() += command.held;
        if !command.held.is_zero() {
            sheet.row.excused = sheet.index;
        }
        settle(sheet, sender, &command.settlement);
        if let Some(holder) = sheet.row.holders.get_mut(&(sender.node, sender.epoch)) {
            holder.confirmed = holder.confirmed.max(command.limited_since);
            holder.unlimited &= holder.confirmed < sheet.row.limited_since;
        }
        decide(sheet);
        Ok(AccountDone::Settled)
    })
}
