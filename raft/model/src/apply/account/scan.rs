//! Scans begin when the dead epochs are fenced. One of an idle account (7.2) is committed if nothing of it has lived since.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::sheet::Sheet;
use super::{Scope, edit};
use crate::command::{ScanBegin, ScanCommit};
use crate::event::Fact;
use crate::reply::{AccountDone, AccountRefusal};
use crate::{AccountId, Done, Epoch, LiveScan, NodeId, Refusal, Reply, Scan};

pub(super) fn begin(scope: &mut Scope<'_>, command: &ScanBegin) -> Reply {
    if !scope.state.epoch_alive(command.node, command.epoch) {
        return Err(Refusal::StaleEpoch { node: command.node, epoch: command.epoch });
    }
    edit(scope, command.account, |sheet| {
        let obstacle = sheet.state().scan_obstacle(&sheet.row, command.force);
        if let Some(obstacle) = obstacle.filter(|obstacle| !command.live || *obstacle != AccountRefusal::InUse) {
            return Err(obstacle);
        }
        all_fenced(sheet)?;
        if let Some(scan) = &sheet.row.scan
            && scan.node != command.node
            && sheet.alive(scan.node, scan.epoch)
        {
            return Err(AccountRefusal::ScanUnderWay { node: scan.node });
        }
        let (node, epoch) = (command.node, command.epoch);
        let live = command.live.then(|| live(sheet));
        sheet.row.scan = Some(Scan { begun: sheet.index, node, epoch, begun_wall: sheet.wall, live });
        Ok(AccountDone::ScanBegun { begun: sheet.index })
    })
}

fn live(sheet: &Sheet<'_>) -> LiveScan {
    let (awaited, ended): (BTreeSet<_>, BTreeSet<(NodeId, Epoch)>) =
        sheet.row.holders.keys().partition(|(node, epoch)| sheet.alive(*node, *epoch));
    LiveScan { ended, awaited, ..LiveScan::default() }
}

fn all_fenced(sheet: &Sheet<'_>) -> Result<(), AccountRefusal> {
    match sheet.state().dead_holders(&sheet.row).find(|(_, _, holder)| !holder.fenced) {
        Some((node, epoch, _)) => Err(AccountRefusal::Unfenced { node, epoch }),
        None => Ok(()),
    }
}

pub(super) fn commit(scope: &mut Scope<'_>, command: &ScanCommit) -> Reply {
    if command.found.is_negative() {
        return Err(Refusal::Account(AccountRefusal::Negative));
    }
    edit(scope, command.account, |sheet| {
        let begun = sheet.row.scan.as_ref().filter(|scan| scan.live.is_none()).map(|scan| scan.begun);
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
        row.uncertain = false;
        row.scan = None;
        row.has_been_scanned(sheet.index);
        row.excused = sheet.index;
        let (bytes, files) = (command.found.bytes as u64, command.found.files as u64);
        sheet.facts.push(Fact::AccountScanned { account: command.account, bytes, files });
        Ok(AccountDone::Scanned { used: command.found })
    })
}

pub(super) fn want(scope: &mut Scope<'_>, account: AccountId, force: bool) -> Reply {
    edit(scope, account, |sheet| {
        sheet.row.forced |= force;
        sheet.row.asked = true;
        sheet.facts.push(Fact::ScanAsked { account, root: sheet.row.root.to_string(), force });
        sheet.mark("asked for by an administrator");
        Ok(AccountDone::Nothing)
    })?;
    Ok(Done::Revision(scope.index))
}
