//! A node's word about its waiter: its 10 s are over, its session's buffer is full, nobody waits any more; or: decide anew (5.2, 5.3).

use super::decide::decide;
use super::{Scope, Sender, edit};
use crate::command::WaitOver;
use crate::reply::AccountDone;
use crate::{Reply, WaiterId, WaiterState};

pub(super) fn apply(scope: &mut Scope<'_>, sender: Sender, command: &WaitOver) -> Reply {
    let id = WaiterId { node: sender.node, epoch: sender.epoch, number: command.number };
    edit(scope, command.account, |sheet| {
        if let Some(waiter) = sheet.row.waiters.get_mut(&id).filter(|waiter| waiter.state == WaiterState::Waiting) {
            waiter.time_over |= command.time_over;
            if command.buffer_full {
                waiter.order = None;
            }
            if command.gone {
                sheet.row.waiters.remove(&id);
            }
        }
        decide(sheet);
        Ok(AccountDone::Nothing)
    })
}
