//! Credits of caught files: on the way while they are measured, and held back while the file is open here.

use std::sync::Arc;

use flotilla_model::command::CreditItem;
use flotilla_model::{Account, Amount, CreditedInode, LogIndex};
use flotilla_vfs::CreditClaim;

use super::account::Seat;
use super::book::Pages;

/// Credits of one account that this node holds back; what would be more is left to a scan.
const MAX_HELD: usize = 1024;

/// A file is being measured: until this is credited or dropped the log keeps what it needs to tell a second credit from the first.
pub struct Measuring {
    seat: Arc<Seat>,
    token: u64,
    index: LogIndex,
}

/// The credit of a removed file whose disk space is still taken. Dropped without `release` it is lost, and marks.
pub struct HeldCredit {
    measuring: Measuring,
    released: bool,
}

impl Measuring {
    pub(super) fn begin(seat: Arc<Seat>) -> Self {
        let index = seat.inner.cluster.state().applied_index();
        let token = {
            let mut pages = seat.book.lock();
            let token = pages.next_number;
            pages.next_number += 1;
            pages.measuring.insert(token, index);
            token
        };
        Measuring { seat, token, index }
    }

    /// Credits what was measured; usable once the log has applied it.
    pub fn credit(self, claim: CreditClaim) {
        let item = self.item(claim);
        self.seat.credit(item);
    }

    /// Keeps the credit back. `None`: too many are kept, the account is marked for a scan instead.
    pub fn hold(self, claim: CreditClaim) -> Option<HeldCredit> {
        {
            let mut pages = self.seat.book.lock();
            if pages.held.len() < MAX_HELD {
                pages.held.insert(self.token, self.item(claim));
                drop(pages);
                return Some(HeldCredit { measuring: self, released: false });
            }
        }
        self.seat.mark();
        None
    }

    fn item(&self, claim: CreditClaim) -> CreditItem {
        CreditItem {
            amount: Amount::of(claim.bytes, claim.files),
            inode: CreditedInode { inode: claim.inode.inode, birth_ns: claim.inode.birth_ns },
            measured: self.index,
        }
    }
}

impl HeldCredit {
    /// The last handle is closed. `charged`: what the file was charged for in the end, if that is more.
    pub fn release(mut self, charged: u64) {
        self.released = true;
        let seat = &self.measuring.seat;
        // Without it the credit is not due any more: see `review_held`.
        let held = seat.book.lock().held.get(&self.measuring.token).copied();
        if let Some(mut item) = held {
            item.amount = item.amount.max_each(Amount::of(charged, 0));
            seat.credit(item);
        }
    }
}

impl Drop for HeldCredit {
    fn drop(&mut self) {
        if !self.released {
            self.measuring.seat.mark();
        }
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        let mut pages = self.seat.book.lock();
        pages.measuring.remove(&self.token);
        pages.held.remove(&self.token);
    }
}

impl Seat {
    fn credit(&self, item: CreditItem) {
        let mut pages = self.book.lock();
        pages.credits.push(item);
        pages.changed_for_the_log();
        drop(pages);
        self.due();
    }
}

impl Pages {
    /// Held credits must not keep the log from forgetting names (6.2): each is looked at as apply would look at it now, and counts
    /// as measured at this index from here on. One that apply would drop is dropped.
    pub(super) fn review_held(&mut self, row: &Account, applied: LogIndex) {
        let Self { held, measuring, .. } = self;
        let mut ambiguous = false;
        held.retain(|token, item| {
            let is_known = row.credited.contains_key(&item.inode);
            ambiguous |= is_known && item.inode.birth_ns == 0;
            let stands = item.measured >= row.scan_committed && !is_known;
            if stands {
                item.measured = item.measured.max(applied);
                measuring.insert(*token, item.measured);
            } else {
                measuring.remove(token);
            }
            stands
        });
        if ambiguous {
            self.mark = true;
            self.changed_for_the_log();
        }
    }
}
