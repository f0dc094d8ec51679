//! What sessions do that the walk of a scan may miss: noted while it is under way, told once it is over (7.3).

use std::sync::Arc;

use flotilla_model::{AccountId, LogIndex, State};

use super::account::{AccountHandle, Seat};
use super::book::Pages;

/// A rename, or a file in place that becomes shorter: from before the system call until after it.
pub struct Moving {
    seat: Arc<Seat>,
    shrinks: bool,
}

/// A write in place, from before its growth is judged until it is stored.
pub struct WritingInPlace {
    seat: Arc<Seat>,
    scan: LogIndex,
}

impl AccountHandle {
    /// Call before something is renamed.
    pub fn moving(&self) -> Moving {
        self.seat.moving(false)
    }

    /// Call before a file in place becomes shorter; it stays counted, so a scan is wanted.
    pub fn shrinking(&self) -> Moving {
        self.seat.moving(true)
    }

    /// Call before it is judged by how much a write in place makes its file grow.
    pub fn writing_in_place(&self) -> WritingInPlace {
        let scan = self.seat.book.lock().unseen.begin_write();
        WritingInPlace { seat: Arc::clone(&self.seat), scan }
    }

    /// The scan that this node confirmed last: for what a file in place is charged is not known any more from before it.
    pub(crate) fn last_scan(&self) -> LogIndex {
        self.seat.book.lock().unseen.scan
    }
}

impl Seat {
    fn moving(self: &Arc<Self>, shrinks: bool) -> Moving {
        self.book.lock().unseen.begin_move();
        Moving { seat: Arc::clone(self), shrinks }
    }

    /// Before a scan that this node has not applied yet nobody walks.
    fn is_scanned(&self) -> bool {
        is_scanned_in_use(&self.inner.cluster.state(), self.book.key.account)
    }
}

pub(super) fn is_scanned_in_use(state: &State, account: AccountId) -> bool {
    let row = state.account(account);
    row.and_then(|row| row.scan.as_ref()).is_some_and(|scan| scan.live.is_some())
}

impl Pages {
    /// `told`: the log hears of it now, not with the next settlement.
    pub(super) fn end_move(&mut self, shrinks: bool, told: bool) {
        self.unseen.end_move(shrinks);
        self.mark |= shrinks;
        if told {
            self.changed_for_the_log();
        }
    }

    /// Whether it began before the last confirmation, which the log hears of.
    pub(super) fn end_write(&mut self, scan: LogIndex) -> bool {
        let before = self.unseen.end_write(scan);
        if before {
            self.changed_for_the_log();
        }
        before
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        let told = self.shrinks || self.seat.is_scanned();
        self.seat.book.lock().end_move(self.shrinks, told);
        if told {
            self.seat.due();
        }
    }
}

impl Drop for WritingInPlace {
    fn drop(&mut self) {
        if self.seat.book.lock().end_write(self.scan) {
            self.seat.book.changed.notify_waiters();
            self.seat.due();
        }
    }
}
