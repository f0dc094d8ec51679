//! One account's book step by step, for model checks: the functions that the ledger's tasks call, without the tasks, on a copy that
//! can be compared, hashed and thrown away. Not an interface.

use std::sync::Arc;

use flotilla_cluster::{Clock, Clocks, Lease};
use flotilla_model::command::{CreditItem, Grant, RecallAnswer, ScanWord, Settle, SettleDead};
use flotilla_model::{AccountId, Amount, Epoch, Limits, LogIndex, NodeId, State, Username};

use super::book::{Book, BookKey, Pages, Parcel};
use super::scan_word::wanted_word;
use super::unseen::is_scanned_in_use;

/// A book of one node's epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Steps {
    node: NodeId,
    key: BookKey,
    pages: Pages,
}

/// What is on its way to the log and comes back if the log does not take it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Packed(Parcel);

impl Packed {
    /// Alone in a command.
    pub fn settle(&self) -> Settle {
        Settle { accounts: vec![self.0.settlement.clone()] }
    }
}

/// An upload's ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    pub number: u64,
    /// Number of its `Grant`.
    pub ask: u64,
    pub want: Amount,
    /// What of it was here already.
    pub part: Amount,
}

struct Still;

impl Clock for Still {
    fn now(&self) -> Clocks {
        Clocks::default()
    }
}

impl Steps {
    /// The book of a holder row, for its first session. `None`: there is no such row.
    pub fn enter(state: &State, account: AccountId, node: NodeId, epoch: Epoch) -> Option<Self> {
        let row = state.account(account)?;
        let holder = row.holders.get(&(node, epoch))?;
        let key = BookKey { account, epoch, since: holder.since };
        let pages = Pages {
            limited: row.is_limited(),
            confirmed: holder.confirmed,
            next_number: 1,
            members: 1,
            ..Pages::default()
        };
        Some(Steps { node, key, pages })
    }

    fn with<R>(&mut self, step: impl FnOnce(&Book, &mut Pages) -> R) -> R {
        let lease = Lease::new(self.node, self.key.epoch, Arc::new(Still), Clocks::default());
        let book = Book::new(self.key, Arc::new(lease), false, 0);
        step(&book, &mut self.pages)
    }

    pub fn epoch(&self) -> Epoch {
        self.key.epoch
    }

    /// One more session, or one less.
    pub fn join(&mut self) {
        self.pages.members += 1;
    }
    pub fn leave(&mut self) {
        self.pages.members -= 1;
    }

    /// The grant that came with the session's open.
    pub fn take_first(&mut self, limits: Limits, amount: Amount, index: LogIndex) {
        self.pages.deliver(None, Amount::ZERO, limits, amount, index, |_| unreachable!("nothing is charged"));
    }

    pub fn begin(&mut self) -> u64 {
        self.pages.begin_holding()
    }

    /// Charges an upload up to a total, if that can be done here and now.
    pub fn raise_to(&mut self, number: u64, limits: Limits, total: Amount) -> bool {
        let lease = Lease::new(self.node, self.key.epoch, Arc::new(Still), Clocks::default());
        let book = Book::new(self.key, Arc::new(lease), false, 0);
        std::mem::swap(&mut *book.lock(), &mut self.pages);
        let raised = book.try_spend_to(number, limits, total);
        std::mem::swap(&mut *book.lock(), &mut self.pages);
        raised
    }

    pub fn held(&self, number: u64) -> Amount {
        self.pages.holdings.get(&number).map_or(Amount::ZERO, |holding| holding.room())
    }

    /// Granted room that no upload holds.
    pub fn unspent(&self) -> Amount {
        self.pages.pots.values().map(|pot| pot.room).sum()
    }

    /// Asks for what an upload lacks up to a total.
    pub fn ask(
        &mut self,
        number: u64,
        ask: u64,
        limits: Limits,
        total: Amount,
        who: (Username, LogIndex),
    ) -> (Ask, Grant) {
        let want = (total - self.held(number)).at_least_zero();
        let account = self.key.account;
        self.with(|book, pages| {
            if let Some(holding) = pages.holdings.get_mut(&number) {
                holding.asking = Some(holding.room());
            }
            let part = pages.begin_ask(number, ask, limits, want, |grant| book.order_of(grant, number));
            (Ask { number, ask, want, part }, pages.grant(account, who, number, want - part, want, limits))
        })
    }

    /// The ask was granted at once.
    pub fn granted(&mut self, ask: Ask, limits: Limits, amount: Amount, index: LogIndex) {
        self.with(|book, pages| {
            let order = |grant| book.order_of(grant, ask.number);
            pages.granted(ask.number, ask.ask, ask.want - ask.part, (limits, amount, index), order);
        });
        self.heard(ask);
    }

    /// The ask waits in the log.
    pub fn waits(&mut self) {
        self.pages.short = true;
        self.pages.asks -= 1;
    }

    /// The ask is over without room.
    pub fn gave_up(&mut self, ask: Ask) {
        self.pages.give_up_ask(ask.number, ask.ask, ask.part);
        self.heard(ask);
    }

    fn heard(&mut self, ask: Ask) {
        self.pages.asks -= 1;
        self.over(ask);
    }

    /// The outcome of an ask that waited, once it is here: `Some(false)` is a refusal, whose part has gone back.
    pub fn outcome(&mut self, ask: Ask) -> Option<bool> {
        let holding = self.pages.holdings.get(&ask.number)?;
        let refused = holding.refused.as_ref().is_some_and(|(refused, _)| *refused == ask.ask);
        if !refused && holding.waiting == Some(ask.ask) {
            return None;
        }
        if refused {
            self.pages.give_up_ask(ask.number, ask.ask, ask.part);
        }
        self.over(ask);
        Some(!refused)
    }

    fn over(&mut self, ask: Ask) {
        if let Some(holding) = self.pages.holdings.get_mut(&ask.number) {
            holding.asking = None;
        }
    }

    /// Takes up what the account's row says; whether an answer is owed.
    pub fn look_at(&mut self, state: &State) -> bool {
        let (Some(row), key) = (state.account(self.key.account), self.key) else { return false };
        let Some(holder) = row.holders.get(&(self.node, key.epoch)).filter(|holder| holder.since == key.since) else {
            return false;
        };
        self.with(|book, pages| {
            pages.look_at(book, row, state.applied_index());
            pages.owes_answer(row, holder) && !pages.answering
        })
    }

    /// An ask whose waiter the log must look at again, since somebody's epoch has ended.
    pub fn nudge(&mut self, state: &State) -> Option<u64> {
        let deaths = state.dead_holders(state.account(self.key.account)?).count() as u64;
        self.pages.first_to_nudge(deaths)
    }

    /// Answers a recall. No grant is on its way, no parcel either.
    pub fn answer(&mut self, state: &State) -> (Packed, RecallAnswer) {
        let (parcel, command) = self.with(|book, pages| pages.make_answer(book, state));
        self.pages.answering = true;
        (Packed(parcel), command)
    }

    pub fn answered(&mut self, packed: Packed, begun: LogIndex, taken: bool) {
        self.pages.arrived(packed.0, taken);
        self.pages.answering = false;
        if taken {
            self.pages.answered = self.pages.answered.max(begun);
        }
    }

    pub fn is_dirty(&self) -> bool {
        self.pages.is_dirty()
    }

    /// Whether a grant or a parcel is on its way.
    pub fn is_asking(&self) -> bool {
        self.pages.is_asking()
    }
    pub fn is_carrying(&self) -> bool {
        self.pages.in_flight > 0
    }

    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// There is nothing to settle, and just that the log has to hear.
    pub fn tell(&mut self) {
        self.pages.changes += 1;
    }

    pub fn settle(&mut self, applied: LogIndex) -> Packed {
        Packed(self.pages.pack(self.key, false, applied))
    }

    pub fn settled(&mut self, packed: Packed, taken: bool) {
        self.pages.arrived(packed.0, taken);
    }

    pub fn publish(&mut self, number: u64) {
        self.pages.publish(number);
    }

    /// An upload failed and will be discarded.
    pub fn fail(&mut self, number: u64) {
        if let Some(holding) = self.pages.holdings.get_mut(&number) {
            holding.failed = true;
            self.pages.answer_stale = true;
        }
    }

    /// Its staged file is gone: what it holds is free.
    pub fn give_back(&mut self, number: u64) {
        let held = self.held(number);
        self.pages.give_back(number, held);
    }

    pub fn end(&mut self, number: u64) {
        self.pages.end(number);
    }

    pub fn measuring(&mut self, applied: LogIndex) -> u64 {
        self.pages.begin_measuring(applied)
    }

    /// What was measured is credited; `None`: another link was left, or it was gone.
    pub fn measured(&mut self, token: u64, item: Option<CreditItem>) {
        if let Some(item) = item {
            self.pages.credit(item);
        }
        self.pages.end_measuring(token);
    }

    /// What is caught is unlinked now.
    pub fn measure_now(&mut self, token: u64) {
        self.pages.nameless.insert(token);
    }

    pub fn mark(&mut self) {
        self.pages.mark = true;
        self.pages.changed_for_the_log();
    }

    /// Keeps back the credit of a removed file that is open here still, and gives it with its last handle.
    pub fn hold(&mut self, token: u64, item: CreditItem) {
        self.pages.hold(token, item);
    }

    pub fn release(&mut self, token: u64, charged: u64, known_at: LogIndex) {
        self.pages.release_held(token, charged, known_at);
        self.pages.end_measuring(token);
    }

    /// A rename, or a file in place that becomes shorter.
    pub fn begin_move(&mut self) {
        self.pages.unseen.begin_move();
    }

    pub fn end_move(&mut self, state: &State, shrinks: bool) {
        self.pages.end_move(shrinks, shrinks || is_scanned_in_use(state, self.key.account));
    }

    /// A write in place: under which scan it was begun, which is the last one that this node has confirmed.
    pub fn begin_write(&mut self) -> LogIndex {
        self.pages.unseen.begin_write()
    }

    pub fn end_write(&mut self, scan: LogIndex) {
        self.pages.end_write(scan);
    }

    pub fn last_scan(&self) -> LogIndex {
        self.pages.unseen.scan
    }

    /// The word about a scan that is due, and on its way from here on. Writes in place that are under way count as earlier ones for a
    /// confirmation, which waits for them for a while.
    pub fn begin_word(&mut self, state: &State) -> Option<(LogIndex, bool)> {
        let wanted = wanted_word(state.account(self.key.account)?, (self.node, self.key.epoch));
        let word = self.pages.begin_word(wanted)?;
        if !word.1 {
            self.pages.unseen.begin_scan(word.0);
        }
        Some(word)
    }

    /// Confirms or reports. No parcel is on its way.
    pub fn word(&mut self, (begun, report): (LogIndex, bool), applied: LogIndex) -> (Packed, ScanWord) {
        let parcel = self.pages.pack_word(self.key, report, applied);
        let word = ScanWord { begun, settlement: parcel.settlement.clone() };
        (Packed(parcel), word)
    }

    /// `packed`: what is not back in the book already.
    pub fn word_heard(&mut self, packed: Option<Packed>, word: (LogIndex, bool), taken: bool) {
        if let Some(packed) = packed {
            self.pages.arrived(packed.0, taken);
        }
        self.pages.end_word(word, taken);
    }

    /// Whether something of a dead epoch runs still.
    pub fn runs(&self) -> bool {
        let pages = &self.pages;
        pages.members > 0
            || !pages.holdings.is_empty()
            || !pages.measuring.is_empty()
            || pages.in_flight > 0
            || pages.is_asking()
    }

    pub fn settle_dead(&mut self) -> SettleDead {
        self.with(|book, pages| pages.last_settlement(book))
    }
}
