//! Credits caught files, each inode once (6.1, 6.2).

use std::sync::Arc;

use super::scan_live;
use super::sheet::Sheet;
use crate::command::CreditItem;

/// Names kept per account. Beyond it a credit is not given and the account is marked: over-counted, never under.
const MAX_NAMES: usize = 4096;

pub(super) fn credit_all(sheet: &mut Sheet<'_>, credits: &[CreditItem]) {
    for item in credits {
        credit(sheet, item);
    }
}

fn credit(sheet: &mut Sheet<'_>, item: &CreditItem) {
    // What was measured before a scan's commit may not be counted by it, or may be: then too much is counted until the next one.
    if item.measured < sheet.row.scan_committed {
        sheet.mark("a credit was measured before a scan");
        return;
    }
    if sheet.row.credited.contains_key(&item.inode) {
        if item.inode.birth_ns == 0 {
            sheet.mark("a reused inode could not be told from a credited one");
        }
        return;
    }
    if sheet.row.credited.len() >= MAX_NAMES {
        sheet.mark("too many credited files to keep apart");
        return;
    }
    let index = sheet.index;
    Arc::make_mut(&mut sheet.row.credited).insert(item.inode, index);
    sheet.row.used -= item.amount;
    scan_live::note_credited(sheet, item.amount);
    #[cfg(feature = "planted-bugs")]
    if crate::planted::is("quota-refund") {
        sheet.row.used -= item.amount;
    }
}

/// Forgets the names that every holder, alive or unsettled, has settled past.
pub(super) fn forget_settled(sheet: &mut Sheet<'_>) {
    let through =
        sheet.row.holders.values().filter(|holder| !holder.settled).map(|holder| holder.settled_through).min();
    let through = through.unwrap_or(sheet.index);
    if sheet.row.credited.values().any(|index| *index <= through) {
        Arc::make_mut(&mut sheet.row.credited).retain(|_, index| *index > through);
    }
}
