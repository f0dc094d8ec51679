//! A dead epoch's staging folder of an account is gone for good (8.5).

use super::presence::sum_up_ended;
use super::{Scope, edit};
use crate::command::Fenced;
use crate::event::Fact;
use crate::reply::AccountDone;
use crate::{Refusal, Reply};

pub(super) fn apply(scope: &mut Scope<'_>, command: &Fenced) -> Reply {
    if scope.state.epoch_alive(command.node, command.epoch) {
        return Err(Refusal::Invalid("epoch: it has not ended".into()));
    }
    edit(scope, command.account, |sheet| {
        let Some(holder) = sheet.row.holders.get_mut(&(command.node, command.epoch)) else {
            return Ok(AccountDone::Nothing);
        };
        if !holder.fenced {
            holder.fenced = true;
            sheet.facts.push(Fact::EpochFenced { account: command.account, epoch: command.epoch });
        }
        sheet.drop_holder_if_empty(command.node, command.epoch);
        sum_up_ended(sheet);
        Ok(AccountDone::Settled)
    })
}
