//! Credits of caught files: on the way while they are measured, and held back while the file is open here.

use std::sync::Arc;

use flotilla_model::command::CreditItem;
use flotilla_model::{Account, Amount, CreditedInode, LogIndex};
use flotilla_vfs::CreditClaim;

use super::account::Seat;
use super::book::{Book, Pages};

/// Credits of one account that this node holds back; what would be more is left to a scan.
const MAX_HELD: usize = 1024;

/// A file is about to be caught and measured: until this is credited or dropped the log keeps what it needs to tell a second credit
/// from the first. Begun before the capture: another node may have caught the same file, and its credit be forgotten in between.
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
        let token = seat.book.lock().begin_measuring(index);
        Measuring { seat, token, index }
    }

    /// It is measured now, behind what is applied here.
    pub fn measure_now(&mut self) {
        self.index = self.seat.inner.cluster.state().applied_index();
        self.seat.book.lock().nameless.insert(self.token);
    }

    /// Credits what was measured; usable once the log has applied it.
    pub fn credit(self, claim: CreditClaim) {
        let item = self.item(claim);
        self.seat.credit(item);
    }

    /// Keeps the credit back. Where too many are kept it is lost, and the account is marked for a scan.
    pub fn hold(self, claim: CreditClaim) -> HeldCredit {
        let kept = self.seat.book.lock().hold(self.token, self.item(claim));
        if !kept {
            self.seat.due();
        }
        HeldCredit { measuring: self, released: false }
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
    /// The last handle is closed. `charged`: what the file was charged for in the end, if that is more; it counts only if it was known
    /// since the scan `known_at`, the last one.
    pub fn release(mut self, charged: u64, known_at: LogIndex) {
        self.released = true;
        let seat = &self.measuring.seat;
        if seat.book.release_held(self.measuring.token, charged, known_at) {
            seat.due();
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
        pages.end_measuring(self.token);
    }
}

impl Seat {
    fn credit(&self, item: CreditItem) {
        self.book.lock().credit(item);
        self.due();
    }
}

impl Book {
    /// Makes a held credit due, in one step: a review between a look at it and the credit might let the log forget the name, and the
    /// inode would be credited twice (6.2). `false`: a review has dropped it.
    fn release_held(&self, token: u64, charged: u64, known_at: LogIndex) -> bool {
        self.lock().release_held(token, charged, known_at)
    }
}

impl Pages {
    pub(super) fn end_measuring(&mut self, token: u64) {
        self.measuring.remove(&token);
        self.nameless.remove(&token);
        self.held.remove(&token);
    }

    /// `false`: it is not kept. Then it keeps no name in the log either, and a scan counts without it.
    pub(super) fn hold(&mut self, token: u64, item: CreditItem) -> bool {
        let kept = self.held.len() < MAX_HELD;
        if kept {
            self.held.insert(token, item);
        } else {
            self.measuring.remove(&token);
            self.mark = true;
            self.changed_for_the_log();
        }
        kept
    }

    pub(super) fn release_held(&mut self, token: u64, charged: u64, known_at: LogIndex) -> bool {
        let Some(mut item) = self.held.remove(&token) else { return false };
        let charged = if known_at < self.unseen.scan { 0 } else { charged };
        item.amount = item.amount.max_each(Amount::of(charged, 0));
        self.credit(item);
        true
    }

    pub(super) fn credit(&mut self, item: CreditItem) {
        self.credits.push(item);
        self.changed_for_the_log();
    }

    /// Held credits must not keep the log from forgetting names (6.2): each is looked at as apply would look at it now, and counts
    /// as measured at this index from here on. One that apply would drop is dropped.
    pub(super) fn review_held(&mut self, row: &Account, applied: LogIndex) {
        let Self { held, measuring, .. } = self;
        let mut lost = false;
        held.retain(|token, item| {
            let is_known = row.credited.contains_key(&item.inode);
            let is_scanned = item.measured < row.scan_committed;
            // It may be counted still.
            lost |= is_scanned || (is_known && item.inode.birth_ns == 0);
            let stands = !is_scanned && !is_known;
            if stands {
                item.measured = item.measured.max(applied);
                measuring.insert(*token, item.measured);
            } else {
                measuring.remove(token);
            }
            stands
        });
        if lost {
            self.mark = true;
            self.changed_for_the_log();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use flotilla_cluster::{Lease, SystemClock};
    use flotilla_model::command::CreditItem;
    use flotilla_model::{Account, AccountId, Amount, CreditedInode, Epoch, Limits, NodeId, Root, StorageName};

    use super::super::book::{Book, BookKey};

    const ROUNDS: usize = 20_000;
    const INODE: CreditedInode = CreditedInode { inode: 7, birth_ns: 1 };

    fn book_that_holds_a_credit() -> Arc<Book> {
        let lease = Lease::new(NodeId(1), Epoch(1), Arc::new(SystemClock), Default::default());
        let key = BookKey { account: AccountId(1), epoch: Epoch(1), since: 1 };
        let book = Book::new(key, Arc::new(lease), true, 0);
        let mut pages = book.lock();
        pages.measuring.insert(1, 5);
        pages.nameless.insert(1);
        pages.held.insert(1, CreditItem { amount: Amount::new(10, 1), inode: INODE, measured: 5 });
        drop(pages);
        book
    }

    /// The account after another node has credited the inode.
    fn credited() -> Account {
        let root = Root::new(StorageName::parse("files").unwrap(), "home").unwrap();
        let mut row = Account::new(AccountId(1), root, 1);
        Arc::make_mut(&mut row.credited).insert(INODE, 6);
        row
    }

    #[test]
    fn a_release_counts_what_the_file_was_charged_for_in_the_end() {
        let book = book_that_holds_a_credit();
        assert!(book.release_held(1, 25, 0));
        assert_eq!(book.lock().credits[0].amount, Amount::new(25, 1));
        assert!(!book.release_held(1, 25, 0), "once");
    }

    #[test]
    fn a_release_does_not_count_what_was_charged_before_a_scan() {
        let book = book_that_holds_a_credit();
        book.lock().unseen.begin_scan(4);
        assert!(book.release_held(1, 25, 3));
        assert_eq!(book.lock().credits[0].amount, Amount::new(10, 1));
    }

    #[test]
    fn a_removed_file_stays_nameless_until_its_last_handle_is_closed_also_without_its_credit() {
        let book = book_that_holds_a_credit();
        let mut pages = book.lock();
        let mut row = credited();
        (row.credited, row.scan_committed) = (Arc::default(), 9);
        pages.review_held(&row, 9);
        assert!(pages.held.is_empty() && pages.mark, "a scan has counted without it");
        assert!(pages.pack_word(book.key, true, 9).settlement.disturbed, "a walk does not find it");
        pages.end_measuring(1);
        assert!(!pages.pack_word(book.key, true, 9).settlement.disturbed);
    }

    #[test]
    fn a_credit_too_many_keeps_no_name_in_the_log_and_its_file_stays_nameless() {
        let book = book_that_holds_a_credit();
        let mut pages = book.lock();
        let mut row = credited();
        row.credited = Arc::default();
        for number in 2..=super::MAX_HELD as u64 + 1 {
            pages.measuring.insert(number, 5);
            pages.nameless.insert(number);
            let inode = CreditedInode { inode: number, birth_ns: 7 };
            let kept = pages.hold(number, CreditItem { amount: Amount::new(10, 1), inode, measured: 5 });
            assert_eq!(kept, number <= super::MAX_HELD as u64);
        }
        assert!(pages.mark, "the lost one is counted until a scan");
        pages.review_held(&row, 9);
        let packed = pages.pack_word(book.key, true, 9).settlement;
        assert_eq!((packed.settled_through, packed.disturbed), (9, true));
    }

    #[test]
    fn what_held_room_at_a_report_marks_when_it_is_settled() {
        let lease = Lease::new(NodeId(1), Epoch(1), Arc::new(SystemClock), Default::default());
        let book = Book::new(BookKey { account: AccountId(1), epoch: Epoch(1), since: 1 }, Arc::new(lease), false, 0);
        let numbers = [0, 1].map(|_| book.lock().begin_holding());
        assert!(book.try_spend(numbers[0], Limits::NONE, Amount::new(10, 1)));
        let mut pages = book.lock();
        assert!(!pages.pack_word(book.key, true, 9).settlement.mark);
        drop(pages);
        assert!(book.try_spend(numbers[1], Limits::NONE, Amount::new(10, 1)));
        pages = book.lock();
        pages.publish(numbers[1]);
        assert!(!pages.mark, "it was charged behind the report");
        pages.publish(numbers[0]);
        assert!(pages.mark, "the walk may have found it");
    }

    /// Behind a review that saw the name the log may forget it: a credit that comes then is counted a second time.
    #[test]
    fn no_credit_comes_behind_a_review_that_saw_its_name_in_the_log() {
        let row = credited();
        let (mut before, mut behind) = (0, 0);
        for _ in 0..ROUNDS {
            let (book, ready) = (book_that_holds_a_credit(), Barrier::new(2));
            let at_review = std::thread::scope(|threads| {
                let review = threads.spawn(|| {
                    ready.wait();
                    let mut pages = book.lock();
                    pages.review_held(&row, 9);
                    pages.credits.len()
                });
                ready.wait();
                book.release_held(1, 0, 0);
                review.join().unwrap()
            });
            assert_eq!(book.lock().credits.len(), at_review, "a credit came behind the review");
            if at_review == 1 { before += 1 } else { behind += 1 }
        }
        assert!(before > 0 && behind > 0, "{before} releases came before the review, {behind} behind it");
    }
}
