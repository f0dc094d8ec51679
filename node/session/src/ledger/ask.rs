//! Asks the log for room: at need, where a request that does not fit waits, and ahead of need.

use std::sync::Arc;
use std::time::Duration;

use flotilla_model::command::{AccountCommand, Grant, WaitOver};
use flotilla_model::reply::{AccountDone, AccountRefusal};
use flotilla_model::{AccountId, Amount, CommandId, Done, Limits, LogIndex, Refusal, UploadOrder, Username};
use flotilla_vfs::GuardRef;
use tokio::time::Instant;

use super::account::Seat;
use super::book::{Book, Pages};
use super::submit::Outcome;
use super::{Inner, QuotaRefused};

/// Asked ahead at the first need, in bytes and files; doubled with each grant up to the second pair.
pub(super) const FIRST_AHEAD: Amount = Amount { bytes: 1 << 20, files: 64 };
const MOST_AHEAD: Amount = Amount { bytes: 256 << 20, files: 1024 };
/// How often a waiting request looks at its guard.
const GUARD_EVERY: Duration = Duration::from_millis(100);
/// A request waits no longer than this beyond its 10 s, whatever the log says.
const GRACE: Duration = Duration::from_secs(20);

/// What became of an ask.
enum Asked {
    Given,
    Waits(Waiting),
    Refused(QuotaRefused),
}

impl Seat {
    /// Asks for `want`, and waits while the log does. Cancelling the future forgets the wait.
    pub(super) async fn ask(self: &Arc<Self>, number: u64, want: Amount, guard: &GuardRef) -> Result<(), QuotaRefused> {
        let seat = Arc::clone(self);
        // In a task of its own: what the log grants must find its book even if the asker is gone.
        let asked = self.inner.runtime.spawn(async move { seat.ask_once(number, want).await });
        match asked.await.map_err(|_| QuotaRefused::Stopped)? {
            Asked::Given => Ok(()),
            Asked::Refused(why) => Err(why),
            Asked::Waits(waiting) => waiting.outcome(guard).await,
        }
    }

    async fn ask_once(self: &Arc<Self>, number: u64, want: Amount) -> Asked {
        let book = &self.book;
        let _no_answer_meanwhile = book.asking.lock().await;
        let limits = self.refresh_limits();
        if book.try_spend(number, limits, want) {
            return Asked::Given;
        }
        if book.lease.is_dead() {
            return Asked::Refused(QuotaRefused::Stopped);
        }
        let id = book.lease.number();
        let CommandId::Node { number: ask, .. } = id else { unreachable!("a lease numbers its commands") };
        let (grant, part) = {
            let mut pages = book.lock();
            let part = pages.begin_ask(number, ask, limits, want, |grant| book.order_of(grant, number));
            (self.grant(&pages, number, want - part, want, limits), part)
        };
        let waiting = Waiting { seat: Arc::clone(self), ask, number, want, part, over: false };
        let outcome = self.inner.submit_under(&book.lease, id, "grant", AccountCommand::Grant(grant)).await;
        let asked = waiting.asked(outcome);
        book.lock().asks -= 1;
        asked
    }

    fn grant(&self, pages: &Pages, number: u64, need: Amount, want: Amount, limits: Limits) -> Grant {
        let who = (self.username.clone(), self.incarnation);
        pages.grant(self.book.key.account, who, number, need, want, limits)
    }

    /// Asks ahead in the background if less than half of the last grant is left.
    pub(super) fn ask_ahead_if_low(self: &Arc<Self>) {
        let limits = self.limits();
        {
            let mut pages = self.book.lock();
            if !pages.runs_low(limits) {
                return;
            }
            pages.asking_ahead = true;
        }
        let seat = Arc::clone(self);
        self.inner.runtime.spawn(async move { seat.ask_ahead(limits).await });
    }

    async fn ask_ahead(&self, limits: Limits) {
        let book = &self.book;
        let _no_answer_meanwhile = book.asking.lock().await;
        let grant = {
            let mut pages = book.lock();
            if pages.short || book.lease.is_dead() {
                pages.asking_ahead = false;
                return;
            }
            self.grant(&pages, 0, Amount::ZERO, Amount::ZERO, limits)
        };
        let outcome = self.inner.submit_numbered(&book.lease, "grant", AccountCommand::Grant(grant)).await;
        let mut pages = book.lock();
        pages.asking_ahead = false;
        let given = match outcome {
            Outcome::Answered(submitted) => submitted.reply.ok(),
            Outcome::Over => None,
        };
        if let Some(Done::Account(AccountDone::Granted { index, limits, amount })) = given {
            pages.deliver(None, Amount::ZERO, limits, amount, index, |_| unreachable!("nothing is charged"));
        }
        // Where nothing came the next ask is due at half of what is left.
        if let Some(pot) = pages.pots.get_mut(&limits) {
            pot.granted = pot.granted.min_each(pot.room.max_each(Amount::ZERO));
        }
        drop(pages);
        book.changed.notify_waiters();
        self.inner.touch(book.key.account);
    }
}

impl Pages {
    /// An upload asks: what little there is becomes its own, so that nobody takes it while the rest is asked for. Returns that.
    pub(super) fn begin_ask(
        &mut self,
        number: u64,
        ask: u64,
        limits: Limits,
        want: Amount,
        order: impl Fn(LogIndex) -> UploadOrder,
    ) -> Amount {
        let part = self.spend_part(number, limits, want, order);
        if let Some(holding) = self.holdings.get_mut(&number) {
            holding.waiting = Some(ask);
        }
        self.asks += 1;
        part
    }

    pub(super) fn grant(
        &self,
        account: AccountId,
        (username, incarnation): (Username, LogIndex),
        number: u64,
        need: Amount,
        want: Amount,
        limits: Limits,
    ) -> Grant {
        let holding = self.holdings.get(&number);
        let holds = holding.map_or(Amount::ZERO, |holding| holding.room());
        let last = self.pots.get(&limits).map_or(Amount::ZERO, |pot| pot.granted);
        Grant {
            account,
            username,
            incarnation,
            need,
            ahead: ahead(last).max_each(want).min_each(MOST_AHEAD),
            holds,
            order: holding.filter(|_| holds.is_positive()).and_then(|holding| holding.order),
        }
    }

    /// An ask is granted at once.
    pub(super) fn granted(
        &mut self,
        number: u64,
        ask: u64,
        need: Amount,
        (limits, amount, index): (Limits, Amount, LogIndex),
        order: impl Fn(LogIndex) -> UploadOrder,
    ) {
        let waited = self.stop_waiting(number, ask).then_some(number);
        self.deliver(waited, need, limits, amount, index, order);
    }

    /// An ask is over without room: what it had taken goes back.
    pub(super) fn give_up_ask(&mut self, number: u64, ask: u64, amount: Amount) {
        self.stop_waiting(number, ask);
        if !amount.is_zero() {
            self.give_back(number, amount);
        }
    }
}

fn ahead(last: Amount) -> Amount {
    (last + last).max_each(FIRST_AHEAD).min_each(MOST_AHEAD)
}

/// A request that the log knows of. Dropped before its outcome was taken it gives everything back and tells the log to forget it.
struct Waiting {
    seat: Arc<Seat>,
    /// Number of the `Grant` command.
    ask: u64,
    /// Number of the upload.
    number: u64,
    want: Amount,
    /// What of it was here already.
    part: Amount,
    over: bool,
}

impl Waiting {
    fn asked(mut self, outcome: Outcome) -> Asked {
        let book = Arc::clone(&self.seat.book);
        let reply = match outcome {
            Outcome::Answered(submitted) => submitted.reply,
            Outcome::Over => return self.refused(QuotaRefused::Stopped),
        };
        match reply {
            Ok(Done::Account(AccountDone::Granted { index, limits, amount })) => {
                self.over = true;
                let order = |grant| book.order_of(grant, self.number);
                let given = (limits, amount, index);
                book.lock().granted(self.number, self.ask, self.want - self.part, given, order);
                Asked::Given
            }
            Ok(Done::Account(AccountDone::Waiting)) => {
                book.lock().short = true;
                self.seat.inner.touch(book.key.account);
                Asked::Waits(self)
            }
            Err(Refusal::Account(why @ (AccountRefusal::TooManyWaiting | AccountRefusal::UserGone))) => {
                self.refused(QuotaRefused::Exceeded(why.to_string()))
            }
            Err(refusal) => self.refused(QuotaRefused::Unavailable(refusal.to_string())),
            Ok(other) => {
                tracing::error!(?other, "a grant has an answer of another kind");
                self.refused(QuotaRefused::Unavailable("unexpected answer".into()))
            }
        }
    }

    fn refused(mut self, why: QuotaRefused) -> Asked {
        self.over = true;
        self.give_back(self.part);
        Asked::Refused(why)
    }

    fn give_back(&self, amount: Amount) {
        self.seat.book.lock().give_up_ask(self.number, self.ask, amount);
        self.seat.due();
    }

    async fn outcome(mut self, guard: &GuardRef) -> Result<(), QuotaRefused> {
        let seat = Arc::clone(&self.seat);
        let begun = Instant::now();
        let mut said_over = false;
        let mut said_full = false;
        loop {
            let heard = seat.book.changed.notified();
            if let Some(outcome) = self.taken() {
                self.over = true;
                if outcome.is_err() {
                    self.give_back(self.part);
                }
                return outcome;
            }
            if guard.check().is_err() || seat.book.lease.is_dead() {
                return Err(QuotaRefused::Stopped);
            }
            let waited = begun.elapsed();
            if waited >= seat.inner.config.wait_for_room && !said_over {
                said_over = true;
                self.tell(true, false, false);
            }
            if seat.progress.is_stuck() && !said_full {
                said_full = true;
                self.tell(false, true, false);
            }
            if waited >= seat.inner.config.wait_for_room + GRACE {
                return Err(QuotaRefused::Unavailable("no decision about room in time".into()));
            }
            let _ = tokio::time::timeout(GUARD_EVERY, heard).await;
        }
    }

    /// The outcome, once the watcher has read it from the state.
    fn taken(&self) -> Option<Result<(), QuotaRefused>> {
        let pages = self.seat.book.lock();
        let Some(holding) = pages.holdings.get(&self.number) else { return Some(Err(QuotaRefused::Stopped)) };
        match &holding.refused {
            Some((refused, shortage)) if *refused == self.ask => {
                Some(Err(QuotaRefused::Exceeded(shortage.to_string())))
            }
            _ if holding.waiting == Some(self.ask) => None,
            _ => Some(Ok(())),
        }
    }

    fn tell(&self, time_over: bool, buffer_full: bool, gone: bool) {
        let account = self.seat.book.key.account;
        let word = WaitOver { account, number: self.ask, time_over, buffer_full, gone };
        let seat = Arc::clone(&self.seat);
        self.seat.inner.runtime.spawn(async move {
            seat.inner.submit_numbered(&seat.book.lease, "wait_over", AccountCommand::WaitOver(word)).await;
            seat.inner.touch(account);
        });
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        match self.taken() {
            Some(Ok(())) => self.give_back(self.want),
            _ => self.give_back(self.part),
        }
        self.tell(false, false, true);
    }
}

impl Inner {
    /// Tells the log that somebody's epoch ended, so that it decides anew about this waiter.
    pub(super) async fn nudge(&self, book: &Book, ask: u64) {
        let word =
            WaitOver { account: book.key.account, number: ask, time_over: false, buffer_full: false, gone: false };
        self.submit_numbered(&book.lease, "wait_over", AccountCommand::WaitOver(word)).await;
    }
}

#[cfg(test)]
mod tests {
    use flotilla_cluster::{Lease, SystemClock};
    use flotilla_model::{Epoch, NodeId};

    use super::super::book::BookKey;
    use super::*;

    #[test]
    fn what_an_ask_found_here_is_nobodys_until_the_ask_is_over() {
        let lease = Lease::new(NodeId(1), Epoch(1), Arc::new(SystemClock), Default::default());
        let book = Book::new(BookKey { account: AccountId(1), epoch: Epoch(1), since: 1 }, Arc::new(lease), true, 0);
        let limits = Limits { bytes: 100, files: 10 };
        let bytes = |bytes: u64| Amount::of(bytes, 0);
        let number = book.lock().begin_holding();
        book.lock().deliver(None, Amount::ZERO, limits, bytes(80), 1, |_| unreachable!());
        assert!(book.try_spend_to(number, limits, bytes(70)));
        book.set_asking(number, true);
        let part = book.lock().begin_ask(number, 1, limits, bytes(30), |grant| book.order_of(grant, number));
        assert_eq!(part, bytes(10));
        assert!(book.try_spend_to(number, limits, bytes(70)), "what it held before is its own");
        assert!(!book.try_spend_to(number, limits, bytes(80)), "a refusal gives this back at once");
        book.lock().give_up_ask(number, 1, part);
        book.set_asking(number, false);
        let other = book.lock().begin_holding();
        assert!(book.try_spend_to(other, limits, bytes(10)) && !book.try_spend_to(number, limits, bytes(80)));
    }
}
