//! The quota escrow in the log (`PROTOCOL.md` 4 to 8.5): one file per verb, and `decide` for those who wait for room.
//!
//! Always: used + outstanding grants + what dead epochs may have spent stays within the limit of the user that is granted.
//! Nothing happens here when an epoch ends: its grants stay in its holder row and so stay charged.

mod answer;
mod confirm;
mod credit;
mod decide;
mod fenced;
mod grant;
mod inspected;
mod presence;
mod scan;
mod scan_live;
mod scan_wish;
mod settle;
mod settle_dead;
mod sheet;
mod wait_over;

pub(crate) use presence::MAX_ENDED;
pub(super) use presence::{may_open, session_closed, session_opened, session_swept, user_changed};
use sheet::{Sender, edit};

use super::Scope;
use crate::command::AccountCommand;
use crate::{CommandId, Reply};

pub(super) fn apply(scope: &mut Scope<'_>, id: CommandId, command: &AccountCommand) -> Reply {
    match command {
        AccountCommand::Grant(command) => grant::apply(scope, Sender::of(id)?, command),
        AccountCommand::Settle(command) => settle::apply(scope, Sender::of(id)?, command),
        AccountCommand::Answer(command) => answer::apply(scope, Sender::of(id)?, command),
        AccountCommand::WaitOver(command) => wait_over::apply(scope, Sender::of(id)?, command),
        AccountCommand::Confirm(command) => confirm::apply(scope, Sender::of(id)?, command),
        AccountCommand::SettleDead(command) => settle_dead::apply(scope, command),
        AccountCommand::Fenced(command) => fenced::apply(scope, command),
        AccountCommand::Inspected(command) => inspected::apply(scope, command),
        AccountCommand::ScanBegin(command) => scan::begin(scope, command),
        AccountCommand::ScanCommit(command) => scan::commit(scope, command),
        AccountCommand::ScanConfirm(command) => scan_live::confirm(scope, Sender::of(id)?, command),
        AccountCommand::ScanWalked(command) => scan_live::walked(scope, command),
        AccountCommand::ScanReport(command) => scan_live::report(scope, Sender::of(id)?, command),
        AccountCommand::ScanGiveUp(command) => scan_live::give_up(scope, command),
        AccountCommand::WantScan { account, force } => scan::want(scope, *account, *force),
    }
}
