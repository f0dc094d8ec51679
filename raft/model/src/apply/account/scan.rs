//! Scans of idle accounts (7.2): begun when nothing of the account lives, committed if nothing has since.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::sheet::Sheet;
use super::{Scope, edit};
use crate::command::{ScanBegin, ScanCommit};
use crate::event::Fact;
use crate::reply::{AccountDone, AccountRefusal};
use crate::{AccountId, Refusal, Reply, Scan};

pub(super) fn begin(scope: &mut Scope<'_>, command: &ScanBegin) -> Reply {
    if !scope.state.epoch_alive(command.node, command.epoch) {
        return Err(Refusal::StaleEpoch { node: command.node, epoch: command.epoch });
    }
    edit(scope, command.account, |sheet| {
        if let Some(obstacle) = sheet.state().scan_obstacle(&sheet.row, command.force) {
            return Err(obstacle);
        }
        all_fenced(sheet)?;
        if let Some(scan) = sheet.row.scan
            && scan.node != command.node
            && sheet.alive(scan.node, scan.epoch)
        {
            return Err(AccountRefusal::ScanUnderWay { node: scan.node });
        }
        let (node, epoch) = (command.node, command.epoch);
        sheet.row.scan = Some(Scan { begun: sheet.index, node, epoch, begun_wall: sheet.wall });
        Ok(AccountDone::ScanBegun { begun: sheet.index })
    })
}

/// Every holder is of a dead epoch here; each must be fenced.
fn all_fenced(sheet: &Sheet<'_>) -> Result<(), AccountRefusal> {
    match sheet.row.holders.iter().find(|(_, holder)| !holder.fenced) {
        Some(((node, epoch), _)) => Err(AccountRefusal::Unfenced { node: *node, epoch: *epoch }),
        None => Ok(()),
    }
}

pub(super) fn commit(scope: &mut Scope<'_>, command: &ScanCommit) -> Reply {
    if command.found.is_negative() {
        return Err(Refusal::Account(AccountRefusal::Negative));
    }
    edit(scope, command.account, |sheet| {
        let begun = sheet.row.scan.map(|scan| scan.begun);
        // An entry holds many commands: activity at the very index of the begin may have come behind it.
        if begun != Some(command.begun) || sheet.row.activity >= command.begun {
            return Err(AccountRefusal::ScanOvertaken);
        }
        if sheet.living().next().is_some() {
            return Err(AccountRefusal::InUse);
        }
        all_fenced(sheet)?;
        let row = &mut sheet.row;
        row.used = command.found;
        row.holders = BTreeMap::new();
        row.waiters = BTreeMap::new();
        row.credited = Arc::new(BTreeMap::new());
        row.inspected = true;
        row.marked = false;
        row.forced = false;
        row.uncertain = false;
        row.scan = None;
        row.scan_committed = sheet.index;
        row.excused = sheet.index;
        let (bytes, files) = (command.found.bytes as u64, command.found.files as u64);
        sheet.facts.push(Fact::AccountScanned { account: command.account, bytes, files });
        Ok(AccountDone::Scanned { used: command.found })
    })
}

pub(super) fn want(scope: &mut Scope<'_>, account: AccountId, force: bool) -> Reply {
    edit(scope, account, |sheet| {
        sheet.row.forced |= force;
        sheet.mark("asked for by an administrator");
        Ok(AccountDone::Nothing)
    })
}
