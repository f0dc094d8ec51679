//! Scans of accounts in use (7.3). Every node with sessions or grants confirms the begin and settles; behind that barrier the scanner
//! walks; then each settles again, which is its report. What was found and what was settled behind the barrier is together at least
//! what is stored: a file that the walk missed was stored behind the barrier, or was renamed under the walk, and that is told.

use super::decide::decide;
use super::settle::{check, settle};
use super::sheet::Sheet;
use super::{Scope, Sender, edit};
use crate::command::{MAX_REASON, ScanGiveUp, ScanWalked, ScanWord};
use crate::event::Fact;
use crate::reply::{AccountDone, AccountRefusal};
use crate::{Account, Amount, Epoch, LiveScan, LogIndex, NodeId, Refusal, Reply, Walked};

/// Disturbed scans in a row after which the larger of old and new is taken.
const MAX_TRIES: u8 = 3;

/// A node knows of the scan: from here on it says what may escape a walk.
pub(super) fn confirm(scope: &mut Scope<'_>, sender: Sender, command: &ScanWord) -> Reply {
    word(scope, sender, command, |live| live.barrier.is_none())
}

/// All that a node has stored since it confirmed is settled with this.
pub(super) fn report(scope: &mut Scope<'_>, sender: Sender, command: &ScanWord) -> Reply {
    word(scope, sender, command, |live| live.walked.is_some())
}

fn word(scope: &mut Scope<'_>, sender: Sender, command: &ScanWord, fits: impl Fn(&LiveScan) -> bool) -> Reply {
    check(&command.settlement).map_err(Refusal::Account)?;
    edit(scope, command.settlement.account, |sheet| {
        let key = (sender.node, sender.epoch);
        let knows = sheet.row.holders.get(&key).is_some_and(|holder| holder.since == command.settlement.since);
        settle(sheet, sender, &command.settlement);
        if let Some(live) = of(&mut sheet.row, command.begun).filter(|live| knows && fits(live)) {
            live.awaited.remove(&key);
        }
        decide(sheet);
        Ok(AccountDone::Settled)
    })
}

pub(super) fn walked(scope: &mut Scope<'_>, command: &ScanWalked) -> Reply {
    let Walked { found, staged } = command.walked;
    if found.is_negative() || staged.is_negative() {
        return Err(Refusal::Account(AccountRefusal::Negative));
    }
    edit(scope, command.account, |sheet| {
        let living = sheet.row.holders.keys().filter(|(node, epoch)| sheet.alive(*node, *epoch)).copied().collect();
        let dead: Vec<(NodeId, Epoch)> =
            sheet.state().dead_holders(&sheet.row).map(|(node, epoch, _)| (node, epoch)).collect();
        let live = of(&mut sheet.row, command.begun).filter(|live| live.walked.is_none());
        let live = live.ok_or(AccountRefusal::ScanOvertaken)?;
        if live.barrier.is_none() {
            return Err(AccountRefusal::ScanUnconfirmed);
        }
        // It may have renamed something under the walk, and tells nobody any more.
        if let Some((node, _)) = dead.iter().find(|key| !live.ended.contains(key)) {
            return Err(AccountRefusal::EndedDuringScan { node: *node });
        }
        live.walked = Some(command.walked);
        live.awaited = living;
        Ok(AccountDone::Settled)
    })
}

pub(super) fn give_up(scope: &mut Scope<'_>, command: &ScanGiveUp) -> Reply {
    if command.reason.len() > MAX_REASON {
        return Err(Refusal::Account(AccountRefusal::TooLarge));
    }
    edit(scope, command.account, |sheet| {
        // A scan that was disturbed is over already.
        if sheet.row.scan.as_ref().is_some_and(|scan| scan.begun != command.begun) {
            return Err(AccountRefusal::ScanOvertaken);
        }
        if sheet.row.scan_committed > command.begun {
            return Ok(AccountDone::Nothing);
        }
        sheet.row.scan = None;
        sheet.row.scan_tries = 0;
        (sheet.row.asked, sheet.row.forced) = (false, false);
        sheet.row.scan_given_up = Some(command.reason.clone());
        let (account, reason) = (command.account, command.reason.clone());
        sheet.facts.push(Fact::ScanGivenUp { account, reason });
        sheet.mark("its scan was given up");
        Ok(AccountDone::Nothing)
    })
}

fn of(row: &mut Account, begun: LogIndex) -> Option<&mut LiveScan> {
    row.scan.as_mut().filter(|scan| scan.begun == begun).and_then(|scan| scan.live.as_mut())
}

fn current(row: &mut Account) -> Option<&mut LiveScan> {
    row.scan.as_mut().and_then(|scan| scan.live.as_mut())
}

/// A node has settled. What stands in a settlement that is applied before the barrier was stored before the walk. That something was
/// made shorter counts from the begin on: another node may have learnt the file's size, which it confirmed with, just before that.
pub(super) fn note_settled(sheet: &mut Sheet<'_>, used: Amount, disturbed: bool) {
    let Some(live) = current(&mut sheet.row) else { return };
    live.disturbed |= disturbed;
    if live.barrier.is_some() {
        live.added += used.at_least_zero();
    }
}

pub(super) fn note_credited(sheet: &mut Sheet<'_>, amount: Amount) {
    if let Some(live) = current(&mut sheet.row).filter(|live| live.barrier.is_some()) {
        live.credited += amount;
    }
}

/// The row of an ended epoch says its last or is summed up: if it ended during the scan, nobody tells what it has renamed.
pub(super) fn note_gone(sheet: &mut Sheet<'_>, key: (NodeId, Epoch)) {
    if let Some(live) = current(&mut sheet.row) {
        live.disturbed |= !live.ended.contains(&key);
    }
}

pub(super) fn disturb(sheet: &mut Sheet<'_>) {
    if let Some(live) = current(&mut sheet.row) {
        live.disturbed = true;
    }
}

/// Goes on once nobody is awaited: to the barrier, and behind the walk to the result.
pub(super) fn advance(sheet: &mut Sheet<'_>) {
    let index = sheet.index;
    let Account { scan, holders, .. } = &mut sheet.row;
    let Some(live) = scan.as_mut().and_then(|scan| scan.live.as_mut()) else { return };
    // One that closed its last session has settled before.
    live.awaited.retain(|key| holders.contains_key(key));
    if !live.awaited.is_empty() {
        return;
    }
    match live.walked {
        Some(walked) => {
            let live = std::mem::take(live);
            sheet.row.scan = None;
            commit(sheet, live, walked);
            decide(sheet);
        }
        None => live.barrier = live.barrier.or(Some(index)),
    }
}

fn commit(sheet: &mut Sheet<'_>, live: LiveScan, walked: Walked) {
    if live.disturbed {
        sheet.row.scan_tries += 1;
        if sheet.row.scan_tries < MAX_TRIES {
            return sheet.mark("something was renamed or made shorter during its scan");
        }
    }
    let uncertain = sheet.is_uncertain();
    // At least what is stored: published, or caught and not credited.
    let most = walked.found + live.added;
    // What uploads hold their room for, and what was stored or credited meanwhile, may be in it twice or for nothing.
    let doubtful = live.added + live.credited + walked.staged;
    let row = &mut sheet.row;
    let mut before = row.used;
    for key in &live.ended {
        before += row.holders.remove(key).map(|holder| holder.outstanding()).unwrap_or_default();
    }
    row.used = match (live.disturbed, uncertain) {
        (true, _) => before.max_each(most),
        (false, true) => most,
        (false, false) => before.max_each(most - doubtful).min_each(most),
    };
    row.inspected = true;
    row.marked = false;
    row.uncertain = uncertain && live.disturbed;
    row.excused = sheet.index;
    row.has_been_scanned(sheet.index);
    let used = row.used.at_least_zero();
    let (bytes, files) = (used.bytes as u64, used.files as u64);
    sheet.facts.push(Fact::AccountScanned { account: sheet.row.id, bytes, files });
    if live.disturbed {
        sheet.mark("something was renamed or made shorter during each of its scans: the larger count was taken");
    } else if !doubtful.is_zero() {
        sheet.mark("it was written to during its scan");
    }
}

impl Account {
    /// What is common to all scans that end with a result.
    pub(super) fn has_been_scanned(&mut self, index: LogIndex) {
        (self.forced, self.asked) = (false, false);
        self.scan_tries = 0;
        self.scan_given_up = None;
        self.scan_committed = index;
    }
}
