//! What one upload holds of its account's room: raised before the write, published or given back after.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flotilla_model::Amount;
use flotilla_vfs::GuardRef;

use super::QuotaRefused;
use super::account::Seat;

/// The room that one upload holds. End it with `publish` or `give_back`; one that is dropped while it holds room counts as stored, and marks.
pub struct Charge {
    seat: Arc<Seat>,
    number: u64,
    ended: AtomicBool,
    /// One ask of an upload at a time: writes that come meanwhile find what it brought.
    asking: tokio::sync::Mutex<()>,
}

impl Charge {
    pub(super) fn new(seat: Arc<Seat>) -> Self {
        let number = seat.book.lock().begin_holding();
        Charge { seat, number, ended: AtomicBool::new(false), asking: tokio::sync::Mutex::new(()) }
    }

    /// Charges this much more if it can be done here and now. `false`: nothing was charged, use `raise`.
    pub fn try_raise(&self, bytes: u64, files: u64) -> bool {
        let spent = self.seat.book.try_spend(self.number, self.seat.limits(), Amount::of(bytes, files));
        if spent {
            self.seat.ask_ahead_if_low();
        }
        spent
    }

    /// Charges this much more; waits for room if it must, about 10 s at most. A refusal is final for a staged upload: discard the
    /// staged file at once, then `give_back`: others wait for its room.
    pub async fn raise(&self, bytes: u64, files: u64, guard: &GuardRef) -> Result<(), QuotaRefused> {
        if self.try_raise(bytes, files) {
            return Ok(());
        }
        let want = Amount::of(bytes, files);
        let _one_at_a_time = self.asking.lock().await;
        if let Some(text) = self.refused() {
            return Err(QuotaRefused::Exceeded(text));
        }
        if self.try_raise(bytes, files) {
            return Ok(());
        }
        self.ask(want, guard).await
    }

    /// Charges up to this total. For staged uploads, where the total is the largest size written so far and 1 file.
    pub fn try_raise_to(&self, bytes: u64, files: u64) -> bool {
        let spent = self.seat.book.try_spend_to(self.number, self.seat.limits(), Amount::of(bytes, files));
        if spent {
            self.seat.ask_ahead_if_low();
        }
        spent
    }

    pub async fn raise_to(&self, bytes: u64, files: u64, guard: &GuardRef) -> Result<(), QuotaRefused> {
        if self.try_raise_to(bytes, files) {
            return Ok(());
        }
        let _one_at_a_time = self.asking.lock().await;
        if let Some(text) = self.refused() {
            return Err(QuotaRefused::Exceeded(text));
        }
        if self.try_raise_to(bytes, files) {
            return Ok(());
        }
        // From here on nothing else is charged to this upload until the ask is over, so the difference stays what it is.
        self.seat.book.set_asking(self.number, true);
        let more = (Amount::of(bytes, files) - self.held()).at_least_zero();
        let asked = if more.is_zero() { Ok(()) } else { self.seat.ask(self.number, more, guard).await };
        self.seat.book.set_asking(self.number, false);
        asked
    }

    async fn ask(&self, want: Amount, guard: &GuardRef) -> Result<(), QuotaRefused> {
        self.seat.book.set_asking(self.number, true);
        let asked = self.seat.ask(self.number, want, guard).await;
        self.seat.book.set_asking(self.number, false);
        asked
    }

    /// Gives back what is held beyond this total: a staged file was made shorter.
    pub fn lower_to(&self, bytes: u64, files: u64) {
        let mut pages = self.seat.book.lock();
        let held = pages.holdings.get(&self.number).map_or(Amount::ZERO, |holding| holding.room());
        let over = (held - Amount::of(bytes, files)).at_least_zero();
        if over.is_zero() {
            return;
        }
        pages.give_back(self.number, over);
        drop(pages);
        self.seat.due();
    }

    /// What is held now.
    pub fn held(&self) -> Amount {
        self.seat.book.lock().holdings.get(&self.number).map_or(Amount::ZERO, |holding| holding.room())
    }

    /// The text of an earlier refusal.
    pub fn refused(&self) -> Option<String> {
        let pages = self.seat.book.lock();
        let holding = pages.holdings.get(&self.number)?;
        holding.refused.as_ref().map(|(_, shortage)| shortage.to_string())
    }

    /// The upload failed for another reason and will be discarded: those who wait count on its room.
    pub fn fail(&self) {
        let mut pages = self.seat.book.lock();
        if let Some(holding) = pages.holdings.get_mut(&self.number) {
            holding.failed = true;
            pages.answer_stale = true;
        }
        drop(pages);
        self.seat.inner.touch(self.seat.book.key.account);
    }

    /// What is held is stored from now on. The charge can go on (in-place writes after the first CLOSE).
    pub fn publish(&self) {
        self.seat.book.lock().publish(self.number);
        self.seat.due();
    }

    /// The staged file is gone: everything held is free again. The charge is over.
    pub fn give_back(&self) {
        let mut pages = self.seat.book.lock();
        let held = pages.holdings.get(&self.number).map_or(Amount::ZERO, |holding| holding.room());
        pages.give_back(self.number, held);
        drop(pages);
        self.end();
    }

    fn end(&self) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        self.seat.book.lock().end(self.number);
        self.seat.book.changed.notify_waiters();
        self.seat.due();
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.ended.load(Ordering::Acquire) {
            return;
        }
        let mut pages = self.seat.book.lock();
        let held = pages.holdings.get(&self.number).is_some_and(|holding| !holding.room().is_zero());
        if held {
            pages.publish(self.number);
            pages.mark = true;
        }
        drop(pages);
        self.end();
    }
}
