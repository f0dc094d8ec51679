//! A node's answer to a recall (5.1): it settles, gives back what is unspent and lists what is unpublished.

use super::decide::decide;
use super::settle::{check, settle};
use super::{Scope, Sender, edit};
use crate::command::{MAX_LISTED_UPLOADS, RecallAnswer};
use crate::reply::{AccountDone, AccountRefusal};
use crate::{Amount, Answer, Refusal, Reply};

pub(super) fn apply(scope: &mut Scope<'_>, sender: Sender, command: &RecallAnswer) -> Reply {
    check(&command.settlement).map_err(Refusal::Account)?;
    if command.uploads.len() > MAX_LISTED_UPLOADS {
        return Err(Refusal::Account(AccountRefusal::TooLarge));
    }
    edit(scope, command.settlement.account, |sheet| {
        // Before the settlement, which may end the row.
        if let Some(holder) = sheet.row.holders.get_mut(&(sender.node, sender.epoch))
            && holder.since == command.settlement.since
            && holder.answer.as_ref().is_none_or(|answer| answer.begun <= command.begun)
        {
            let uploads = command.uploads.iter().filter(|upload| upload.room != Amount::ZERO).copied().collect();
            holder.answer = Some(Answer { begun: command.begun, uploads });
        }
        settle(sheet, sender, &command.settlement);
        decide(sheet);
        Ok(AccountDone::Settled)
    })
}
