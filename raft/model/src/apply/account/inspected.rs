//! What lay in a root before its first use. The first answer counts; before it no grant is given (7.2).

use super::decide::decide;
use super::{Scope, edit};
use crate::command::Inspected;
use crate::reply::{AccountDone, AccountRefusal};
use crate::{Refusal, Reply};

pub(super) fn apply(scope: &mut Scope<'_>, command: &Inspected) -> Reply {
    if command.found.is_negative() {
        return Err(Refusal::Account(AccountRefusal::Negative));
    }
    edit(scope, command.account, |sheet| {
        if sheet.row.inspected {
            return Ok(AccountDone::Nothing);
        }
        sheet.row.inspected = true;
        sheet.row.used += command.found;
        sheet.row.excused = sheet.index;
        if command.uncounted {
            sheet.row.uncertain = true;
            sheet.mark("its folder was not empty when it was first used");
        }
        decide(sheet);
        Ok(AccountDone::Settled)
    })
}
