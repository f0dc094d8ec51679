//! Looks at accounts whose rows changed: takes the outcomes of waits, answers recalls, confirms a new limit, ends dead books.

use std::sync::Arc;

use flotilla_model::command::{AccountCommand, ConfirmLimited, RecallAnswer};
use flotilla_model::{Account, AccountId, Amount, Holder, Limits, LogIndex, State, WaiterId, WaiterState};

use super::Inner;
use super::book::{Book, BookKey, Pages, Parcel};
use super::scan_word::wanted_word;
use super::submit::Outcome;

/// Runs until the ledger stops.
pub(super) async fn run(inner: Arc<Inner>) {
    loop {
        let touched = std::mem::take(&mut *inner.touched.lock().expect("no panic while locked"));
        if touched.is_empty() {
            tokio::select! {
                () = inner.touch.notified() => continue,
                () = inner.stop.cancelled() => return,
            }
        }
        let state = inner.cluster.state();
        for account in touched {
            inner.look_at(&state, account);
        }
    }
}

impl Inner {
    fn look_at(self: &Arc<Self>, state: &Arc<State>, account: AccountId) {
        let row = state.account(account);
        if let Some(row) = row {
            self.open_unknown_holder(row);
        }
        for book in self.books_of(account) {
            if !state.epoch_alive(book.lease.node(), book.lease.epoch()) {
                self.end_dead(&book, state);
            } else if let Some((row, holder)) = row.and_then(|row| Some((row, book.holder_in(row)?))) {
                self.observe(&book, state, row, holder);
            }
            self.close_if_empty(&book);
        }
    }

    /// A row of this node without a book (its session has not entered yet) must answer recalls and scans too.
    fn open_unknown_holder(self: &Arc<Self>, row: &Account) {
        let Some(lease) = self.cluster.lease() else { return };
        let Some(holder) = row.holders.get(&(lease.node(), lease.epoch())) else { return };
        let asked = wanted_word(row, (lease.node(), lease.epoch())).is_some();
        if asked || wanted_answer(row, holder) > answered_in(holder) {
            let key = BookKey { account: row.id, epoch: lease.epoch(), since: holder.since };
            self.open_book(key, &lease, row.is_limited(), holder, 0);
        }
    }

    fn observe(self: &Arc<Self>, book: &Arc<Book>, state: &Arc<State>, row: &Account, holder: &Holder) {
        let mut pages = book.lock();
        pages.look_at(book, row, state.applied_index());
        let confirm = row.is_limited() && pages.confirmed.max(holder.confirmed) < row.limited_since;
        if confirm && !pages.confirming {
            pages.confirming = true;
            self.runtime.spawn(Arc::clone(self).confirm(Arc::clone(book), row.limited_since));
        } else if row.is_limited() && !confirm {
            pages.limited = true;
        }
        if pages.owes_answer(row, holder) && !pages.answering {
            pages.answering = true;
            self.runtime.spawn(Arc::clone(self).answer(Arc::clone(book)));
        }
        let word = pages.begin_word(wanted_word(row, (book.lease.node(), book.lease.epoch())));
        if let Some(word) = word {
            self.runtime.spawn(Arc::clone(self).say_of_scan(Arc::clone(book), word));
        }
        let holds_up = !pages.is_dirty() && holds_up_names(row, holder);
        if holds_up {
            // There is nothing to settle, and just that is what the log has to hear.
            pages.changes += 1;
        }
        let (dirty, last) = (pages.is_dirty(), pages.members == 0);
        drop(pages);
        if dirty {
            self.book_is_due(book, last || holds_up);
        }
        self.nudge_waiters(book, state, row);
        book.changed.notify_waiters();
    }

    /// Waiters that waited for a node whose epoch has ended: its end touched no account row, so apply must be asked again.
    fn nudge_waiters(self: &Arc<Self>, book: &Arc<Book>, state: &State, row: &Account) {
        let deaths = row.holders.keys().filter(|(node, epoch)| !state.epoch_alive(*node, *epoch)).count() as u64;
        let first = book.lock().first_to_nudge(deaths);
        if let Some(ask) = first {
            let (inner, book) = (Arc::clone(self), Arc::clone(book));
            self.runtime.spawn(async move { inner.nudge(&book, ask).await });
        }
    }

    /// Answers a recall: settles, returns what is unspent, lists what is unpublished (5.1).
    async fn answer(self: Arc<Self>, book: Arc<Book>) {
        // No grant is on its way while the answer is made: what the state says was granted is in the book.
        let _carrying = book.carrying.lock().await;
        let asking = book.asking.lock().await;
        let state = self.seen();
        let (parcel, command) = book.lock().make_answer(&book, &state);
        drop(asking);
        let begun = command.begun;
        let taken = self.carry(&book, "answer", parcel, AccountCommand::Answer(command)).await;
        let mut pages = book.lock();
        pages.answering = false;
        if taken {
            pages.answered = pages.answered.max(begun);
        }
        drop(pages);
        self.heard(&book);
    }

    /// From here on grants only; what was written without one is reported or held (4.4).
    async fn confirm(self: Arc<Self>, book: Arc<Book>, limited_since: LogIndex) {
        let _carrying = book.carrying.lock().await;
        let (parcel, command) = {
            let mut pages = book.lock();
            pages.limited = true;
            let held = pages.hold_what_had_no_grant();
            let parcel = pages.pack(book.key, false, self.cluster.state().applied_index());
            let command = ConfirmLimited { settlement: parcel.settlement.clone(), limited_since, held };
            (parcel, command)
        };
        let taken = self.carry(&book, "confirm", parcel, AccountCommand::Confirm(command)).await;
        let mut pages = book.lock();
        pages.confirming = false;
        if taken {
            pages.confirmed = pages.confirmed.max(limited_since);
        }
        drop(pages);
        self.heard(&book);
    }

    /// Brings a parcel to the log in a command of its own; whether the log has taken it.
    pub(super) async fn carry(&self, book: &Book, verb: &'static str, parcel: Parcel, command: AccountCommand) -> bool {
        let outcome = self.submit_numbered(&book.lease, verb, command).await;
        let taken = matches!(&outcome, Outcome::Answered(submitted) if submitted.reply.is_ok());
        book.lock().arrived(parcel, taken);
        taken
    }

    /// The log has heard of this book: those that wait for it look again.
    pub(super) fn heard(&self, book: &Book) {
        book.changed.notify_waiters();
        self.touch(book.key.account);
    }

    /// Forgets a book that nobody uses and that has nothing left to say. While the log has its row it stays: if the epoch ends before the
    /// last session is closed there, somebody has to say that nothing of it runs any more.
    fn close_if_empty(&self, book: &Book) {
        let mut books = self.books.lock().expect("no panic while locked");
        // Behind the lock, under which sessions enter: an older state may not know the row of one that has come and gone since.
        let state = self.cluster.state();
        let is_known = state.account(book.key.account).and_then(|row| book.holder_in(row)).is_some();
        let pages = book.lock();
        let dead = !state.epoch_alive(book.lease.node(), book.lease.epoch());
        if (dead && pages.settled_dead) || (!dead && !is_known && pages.is_empty()) {
            drop(pages);
            books.remove(&book.key);
        }
    }
}

impl Book {
    pub(super) fn holder_in<'a>(&self, row: &'a Account) -> Option<&'a Holder> {
        row.holders.get(&(self.lease.node(), self.lease.epoch())).filter(|holder| holder.since == self.key.since)
    }
}

/// Names of credited files that one node may hold up before it settles only to say how far it has come (6.2).
const NAMES_HELD_UP: usize = 256;

/// Whether the log keeps many names only because this node has not settled past them.
fn holds_up_names(row: &Account, holder: &Holder) -> bool {
    row.credited.len() >= NAMES_HELD_UP
        && row.credited.values().filter(|index| **index > holder.settled_through).count() >= NAMES_HELD_UP
}

/// An answer must have begun at or after this index.
fn wanted_answer(row: &Account, holder: &Holder) -> LogIndex {
    if row.has_waiting() { row.recall.max(holder.last_grant) } else { row.recall }
}

fn answered_in(holder: &Holder) -> LogIndex {
    holder.answer.as_ref().map_or(holder.since, |answer| answer.begun)
}

impl Pages {
    /// Takes up what the account's row says.
    pub(super) fn look_at(&mut self, book: &Book, row: &Account, applied: LogIndex) {
        self.take_outcomes(book, row);
        self.review_held(row, applied);
        self.short = row.has_waiting();
        if !row.is_limited() {
            self.limited = false;
        }
    }

    /// Whether the log waits for an answer, or those who wait there want to know what has changed.
    pub(super) fn owes_answer(&self, row: &Account, holder: &Holder) -> bool {
        let behind = self.answered.max(answered_in(holder)) < wanted_answer(row, holder);
        behind || (self.short && self.answer_stale)
    }

    /// So many dead holders the row has. An ask that waits, if they are not as many as before.
    pub(super) fn first_to_nudge(&mut self, deaths: u64) -> Option<u64> {
        let news = self.deaths_seen != deaths;
        self.deaths_seen = deaths;
        self.holdings.values().find_map(|holding| holding.waiting).filter(|_| news)
    }

    /// An answer to a recall, with all that is unspent. No grant is on its way.
    pub(super) fn make_answer(&mut self, book: &Book, state: &State) -> (Parcel, RecallAnswer) {
        if let Some(row) = state.account(book.key.account) {
            self.take_outcomes(book, row);
        }
        self.answer_stale = false;
        let uploads = self.open_uploads();
        let parcel = self.pack(book.key, true, state.applied_index());
        let command = RecallAnswer { settlement: parcel.settlement.clone(), begun: state.applied_index(), uploads };
        (parcel, command)
    }

    /// Takes the outcomes of this book's waits from the account's row.
    fn take_outcomes(&mut self, book: &Book, row: &Account) {
        let id = |number| WaiterId { node: book.lease.node(), epoch: book.lease.epoch(), number };
        let range = id(0)..=id(u64::MAX);
        self.taken.retain(|ask| row.waiters.contains_key(&id(*ask)));
        for (id, waiter) in row.waiters.range(range) {
            if waiter.state == WaiterState::Waiting || self.taken.contains(&id.number) {
                continue;
            }
            self.taken.insert(id.number);
            let number =
                self.holdings.iter().find(|(_, holding)| holding.waiting == Some(id.number)).map(|(number, _)| *number);
            match &waiter.state {
                WaiterState::Granted { index, limits } => {
                    self.take_grant(book, number, id.number, waiter.need, *limits, *index);
                }
                WaiterState::Refused(shortage) => self.take_refusal(number, id.number, shortage.clone()),
                WaiterState::Waiting => {}
            }
        }
    }

    fn take_grant(
        &mut self,
        book: &Book,
        number: Option<u64>,
        ask: u64,
        need: Amount,
        limits: Limits,
        index: LogIndex,
    ) {
        if let Some(number) = number {
            self.stop_waiting(number, ask);
        }
        self.deliver(number, need, limits, need, index, |grant| book.order_of(grant, number.unwrap_or_default()));
        self.seen.push(ask);
        self.changed_for_the_log();
    }

    fn take_refusal(&mut self, number: Option<u64>, ask: u64, shortage: flotilla_model::Shortage) {
        match number.and_then(|number| self.holdings.get_mut(&number)) {
            Some(holding) => {
                holding.waiting = None;
                holding.failed = true;
                // A second ask can be refused only after the first outcome was taken: writes in place go on after a refusal.
                if let Some((earlier, _)) = holding.refused.replace((ask, shortage)) {
                    self.seen.push(earlier);
                }
            }
            None => self.seen.push(ask),
        }
        self.changed_for_the_log();
    }

    /// What uploads hold without a grant becomes held under no limit; returns how much that is.
    fn hold_what_had_no_grant(&mut self) -> Amount {
        let mut all = Amount::ZERO;
        for holding in self.holdings.values_mut() {
            if let Some(held) = holding.held.remove(&None) {
                *holding.held.entry(Some(Limits::NONE)).or_default() += held;
                all += held;
            }
        }
        all
    }
}
