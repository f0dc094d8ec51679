//! Which accounts want a scan, what is in its way, and which goes first (7.2, 7.3).

use crate::reply::AccountRefusal;
use crate::{Account, Epoch, Holder, NodeId, State};

impl State {
    /// Whether what is stored may be more than what is counted: a limited account takes no grants then (4.4).
    pub fn account_is_uncertain(&self, row: &Account) -> bool {
        let lost = row
            .holders
            .iter()
            .any(|((node, epoch), holder)| holder.unlimited && !holder.settled && !self.epoch_alive(*node, *epoch));
        row.uncertain || lost
    }

    /// Whether a scan would tell something: the account is marked, or a dead epoch has left charges.
    pub fn wants_scan(&self, row: &Account) -> bool {
        let dead = || row.holders.keys().any(|(node, epoch)| !self.epoch_alive(*node, *epoch));
        row.marked || row.uncertain || dead()
    }

    /// What stands in the way of an idle scan: a dead epoch whose process may still write, or a living session or grant (7.2). Only the
    /// latter does not stand in the way of a live one.
    pub fn scan_obstacle(&self, row: &Account, force: bool) -> Option<AccountRefusal> {
        let mut dead = self.dead_holders(row);
        if let Some((node, epoch, _)) = dead.find(|(node, _, holder)| !force && !self.process_is_over(*node, holder)) {
            return Some(AccountRefusal::MayStillWrite { node, epoch });
        }
        let in_use = row.holders.keys().any(|(node, epoch)| self.epoch_alive(*node, *epoch));
        in_use.then_some(AccountRefusal::InUse)
    }

    /// Whether a scan does not wait until the account is idle: somebody asked for it, or waits for room that it may find, or nothing is
    /// granted before it.
    pub fn scan_is_pressing(&self, row: &Account) -> bool {
        row.asked || self.scan_rank(row).0 == 0
    }

    /// Whether no thread of a dead holder's process writes any more: it has settled, or its node registered a later one or is gone.
    pub(crate) fn process_is_over(&self, node: NodeId, holder: &Holder) -> bool {
        holder.settled || self.node(node).is_none_or(|node| node.start > holder.start)
    }

    /// Holders of an account whose epochs are over and that are neither settled and fenced nor scanned.
    pub fn dead_holders<'a>(&'a self, row: &'a Account) -> impl Iterator<Item = (NodeId, Epoch, &'a Holder)> {
        let dead = row.holders.iter().filter(|((node, epoch), _)| !self.epoch_alive(*node, *epoch));
        dead.map(|((node, epoch), holder)| (*node, *epoch, holder))
    }

    /// The order of scans, smallest first: accounts in which somebody waits for room or nothing is granted before the scan, then the
    /// limited ones by how little room is left of their largest limit (in thousandths), then the others.
    pub fn scan_rank(&self, row: &Account) -> (u8, i64) {
        if row.is_limited() && (row.has_waiting() || self.account_is_uncertain(row)) {
            return (0, 0);
        }
        let limits = self.users_of_account(row.id).map(|user| user.limits()).filter(|limits| !limits.is_none());
        let taken = row.taken().at_least_zero();
        let left =
            limits.map(|limits| thousandths(limits.bytes, taken.bytes).min(thousandths(limits.files, taken.files)));
        left.max().map_or((2, 0), |left| (1, left))
    }
}

fn thousandths(limit: i64, taken: i64) -> i64 {
    let left = i128::from(limit.saturating_sub(taken).max(0));
    i64::try_from(left * 1000 / i128::from(limit.max(1))).unwrap_or(i64::MAX)
}
