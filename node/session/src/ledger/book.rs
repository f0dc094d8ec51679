//! One account's local ledger under one epoch: granted room, what uploads hold of it, and what the log has not heard yet.
//!
//! Everything here is arithmetic under one short lock; whoever talks to the log takes a `Parcel` out and says later how it went.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use flotilla_cluster::Lease;
use flotilla_model::command::{AccountSettlement, CreditItem, MAX_CREDITS, MAX_LISTED_UPLOADS};
use flotilla_model::{AccountId, Amount, Limits, LogIndex, OpenUpload, Shortage, UploadOrder};
use tokio::sync::Notify;

/// Names a book: the holder row that it speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BookKey {
    pub account: AccountId,
    pub epoch: flotilla_model::Epoch,
    pub since: LogIndex,
}

pub(super) struct Book {
    pub key: BookKey,
    pub lease: Arc<Lease>,
    /// Held while a `Grant` is on its way or an answer is: so that no answer overlooks a grant that is not delivered here yet.
    pub asking: tokio::sync::Mutex<()>,
    /// Held while a parcel is on its way: an answer that says "all is returned" must not overtake a settlement that returns some of it.
    pub carrying: Arc<tokio::sync::Mutex<()>>,
    /// Something changed that a waiting upload or a leaving session may be waiting for.
    pub changed: Notify,
    state: Mutex<Pages>,
}

/// Granted room under one set of limits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pot {
    pub room: Amount,
    /// Index and size of the last grant that went in.
    pub index: LogIndex,
    pub granted: Amount,
}

/// What one upload holds.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// Per limits of the grant; `None`: without a grant, in an account without a limit.
    pub held: BTreeMap<Option<Limits>, Amount>,
    /// Its ask is on its way or waits: until then it takes no room by other writes. What the ask said it holds must stay true,
    /// since apply counts on just that much coming back when it refuses.
    pub asking: bool,
    pub order: Option<UploadOrder>,
    pub failed: bool,
    /// The number of its ask that waits in the log.
    pub waiting: Option<u64>,
    /// Its ask was refused: the number to be acknowledged once its room is back.
    pub refused: Option<(u64, Shortage)>,
}

impl Holding {
    pub fn room(&self) -> Amount {
        self.held.values().copied().sum()
    }
}

#[derive(Debug, Default)]
pub(super) struct Pages {
    /// The account takes grants only.
    pub limited: bool,
    /// The log says that somebody waits for room: what becomes free goes back, nothing is asked ahead.
    pub short: bool,
    /// Sessions that use the account here.
    pub members: u32,
    pub pots: BTreeMap<Limits, Pot>,
    pub holdings: BTreeMap<u64, Holding>,
    pub next_number: u64,
    /// Published and not settled.
    pub spent: BTreeMap<Limits, Amount>,
    pub reported: Amount,
    /// Freed while the account is short: on its way back to the log, not to be spent here.
    pub returning: BTreeMap<Limits, Amount>,
    pub credits: Vec<CreditItem>,
    pub measuring: BTreeMap<u64, LogIndex>,
    pub seen: Vec<u64>,
    /// Outcomes of waiters already taken, until their rows are gone.
    pub taken: BTreeSet<u64>,
    pub mark: bool,
    /// Everything ever published or reported under this holder.
    pub total: Amount,
    /// Parcels that are on their way, and credits in them.
    pub in_flight: u32,
    pub credits_in_flight: Vec<CreditItem>,
    /// Counts changes that must reach the log; and up to which change it has been told.
    pub changes: u64,
    pub told: u64,
    /// Changed since the last answer, in a way that those who wait want to know.
    pub answer_stale: bool,
    pub answered: LogIndex,
    pub answering: bool,
    pub confirmed: LogIndex,
    pub confirming: bool,
    pub asking_ahead: bool,
    /// Asks whose first answer is not here yet.
    pub asks: u32,
    pub settled_dead: bool,
    pub ending: bool,
    /// How many dead holders the row had when it was last looked at.
    pub deaths_seen: u64,
}

/// What was taken out of a book for the log.
#[derive(Debug)]
pub(super) struct Parcel {
    pub settlement: AccountSettlement,
    /// The book's count of changes when it was packed.
    pub changes: u64,
}

impl Book {
    pub fn new(key: BookKey, lease: Arc<Lease>, limited: bool, confirmed: LogIndex) -> Arc<Self> {
        let pages = Pages { limited, confirmed, next_number: 1, ..Pages::default() };
        Arc::new(Book {
            key,
            lease,
            asking: tokio::sync::Mutex::new(()),
            carrying: Arc::default(),
            changed: Notify::new(),
            state: Mutex::new(pages),
        })
    }

    pub fn lock(&self) -> MutexGuard<'_, Pages> {
        self.state.lock().expect("no panic while a book is locked")
    }

    /// An account that became limited: from this moment on nothing is written without a grant (4.4). Part of the cut that a new limit waits for.
    pub fn take_up_limit(&self, state: &flotilla_model::State) {
        if state.account(self.key.account).is_some_and(|row| row.is_limited()) {
            self.lock().limited = true;
        }
    }

    pub fn order_of(&self, grant: LogIndex, number: u64) -> UploadOrder {
        UploadOrder { grant, node: self.lease.node(), number }
    }

    /// Charges an upload if granted room suffices, or if the account has no limit. `false`: nothing was charged.
    pub fn try_spend(&self, number: u64, limits: Limits, want: Amount) -> bool {
        let mut pages = self.lock();
        let limited = pages.limited;
        let holding = pages.holdings.entry(number).or_default();
        if !limited {
            *holding.held.entry(None).or_default() += want;
            return true;
        }
        if holding.asking {
            return false;
        }
        pages.spend_granted(number, limits, want, |grant| self.order_of(grant, number))
    }

    /// Charges an upload up to a total, in one step: writes of one upload run at the same time, and two that each looked first
    /// and charged then would charge twice. `false`: nothing was charged.
    pub fn try_spend_to(&self, number: u64, limits: Limits, total: Amount) -> bool {
        let mut pages = self.lock();
        let limited = pages.limited;
        let holding = pages.holdings.entry(number).or_default();
        let more = (total - holding.room()).at_least_zero();
        if more.is_zero() {
            return true;
        }
        if !limited {
            *holding.held.entry(None).or_default() += more;
            return true;
        }
        if holding.asking {
            return false;
        }
        pages.spend_granted(number, limits, more, |grant| self.order_of(grant, number))
    }

    /// Marks that an upload's ask begins or is over.
    pub fn set_asking(&self, number: u64, asking: bool) {
        if let Some(holding) = self.lock().holdings.get_mut(&number) {
            holding.asking = asking;
        }
    }
}

impl Pages {
    /// What this user may spend of the granted room.
    pub fn spendable(&self, limits: Limits) -> Amount {
        self.pots.iter().filter(|(tag, _)| limits.may_spend(**tag)).map(|(_, pot)| pot.room).sum()
    }

    fn spend_granted(
        &mut self,
        number: u64,
        limits: Limits,
        want: Amount,
        order: impl Fn(LogIndex) -> UploadOrder,
    ) -> bool {
        want.fits(self.spendable(limits)) && self.spend_part(number, limits, want, order) == want
    }

    /// Charges as much of `want` as there is.
    pub fn spend_part(
        &mut self,
        number: u64,
        limits: Limits,
        want: Amount,
        order: impl Fn(LogIndex) -> UploadOrder,
    ) -> Amount {
        let mut left = want;
        let holding = self.holdings.entry(number).or_default();
        for (tag, pot) in self.pots.iter_mut().filter(|(tag, _)| limits.may_spend(**tag)) {
            let part = left.min_each(pot.room).at_least_zero();
            if part.is_zero() {
                continue;
            }
            pot.room -= part;
            left -= part;
            *holding.held.entry(Some(*tag)).or_default() += part;
            if holding.order.is_none() {
                holding.order = Some(order(pot.index));
            }
        }
        want - left
    }

    /// Whether the upload still waited for this ask; it does not from here on.
    pub fn stop_waiting(&mut self, number: u64, ask: u64) -> bool {
        let Some(holding) = self.holdings.get_mut(&number).filter(|holding| holding.waiting == Some(ask)) else {
            return false;
        };
        holding.waiting = None;
        true
    }

    /// Whether more should be asked ahead of need: less than half of the last grant is left.
    pub fn runs_low(&self, limits: Limits) -> bool {
        if !self.limited || self.short || self.asking_ahead || self.members == 0 {
            return false;
        }
        let Some(pot) = self.pots.get(&limits) else { return false };
        let low = |room: i64, granted: i64| room < granted / 2;
        low(pot.room.bytes, pot.granted.bytes) || low(pot.room.files, pot.granted.files)
    }

    /// A grant came: what the upload needs is its own, the rest goes into the pot.
    pub fn deliver(
        &mut self,
        number: Option<u64>,
        need: Amount,
        limits: Limits,
        amount: Amount,
        index: LogIndex,
        order: impl Fn(LogIndex) -> UploadOrder,
    ) {
        let mut rest = amount;
        if let Some(holding) = number.and_then(|number| self.holdings.get_mut(&number)) {
            rest -= need;
            *holding.held.entry(Some(limits)).or_default() += need;
            if holding.order.is_none() && !need.is_zero() {
                holding.order = Some(order(index));
            }
        }
        if rest.is_zero() {
            return;
        }
        let pot = self.pots.entry(limits).or_default();
        pot.room += rest;
        pot.index = pot.index.max(index);
        pot.granted = rest;
    }

    /// An upload is published, or an in-place write done: what it holds is stored from here on.
    pub fn publish(&mut self, number: u64) {
        let Some(holding) = self.holdings.get_mut(&number) else { return };
        let held = std::mem::take(&mut holding.held);
        for (tag, amount) in held {
            self.total += amount;
            match tag {
                Some(limits) => *self.spent.entry(limits).or_default() += amount,
                None => self.reported += amount,
            }
        }
        self.changed_for_the_log();
    }

    /// Takes back part of what an upload holds, from the last tag on.
    pub fn give_back(&mut self, number: u64, amount: Amount) {
        let Some(holding) = self.holdings.get_mut(&number) else { return };
        let to_log = self.short || holding.refused.is_some();
        let mut left = amount;
        for (tag, held) in holding.held.iter_mut().rev() {
            let part = left.min_each(*held).at_least_zero();
            *held -= part;
            left -= part;
            match tag {
                Some(limits) if to_log => *self.returning.entry(*limits).or_default() += part,
                Some(limits) => self.pots.entry(*limits).or_default().room += part,
                None => {}
            }
        }
        holding.held.retain(|_, held| !held.is_zero());
        if to_log {
            self.changed_for_the_log();
        }
        self.answer_stale = true;
    }

    /// The upload is over; its refusal, if any, may be forgotten by the log.
    pub fn end(&mut self, number: u64) {
        let Some(holding) = self.holdings.remove(&number) else { return };
        debug_assert!(holding.room().is_zero());
        if let Some((ask, _)) = holding.refused {
            self.seen.push(ask);
            self.changed_for_the_log();
        }
        self.answer_stale = true;
    }

    pub fn changed_for_the_log(&mut self) {
        self.changes += 1;
        self.answer_stale = true;
    }

    /// Whether the log has to hear of something.
    pub fn is_dirty(&self) -> bool {
        self.told < self.changes || (self.members == 0 && self.pots.values().any(|pot| !pot.room.is_zero()))
    }

    /// Whether a grant may be on its way.
    pub fn is_asking(&self) -> bool {
        self.asking_ahead || self.asks > 0
    }

    /// Whether nothing of this book is left here or on its way.
    pub fn is_empty(&self) -> bool {
        self.members == 0
            && self.holdings.is_empty()
            && self.in_flight == 0
            && !self.is_dirty()
            && !self.answering
            && !self.confirming
            && !self.is_asking()
            && self.measuring.is_empty()
    }

    /// Bytes that wait to be settled.
    pub fn unsettled_bytes(&self) -> i64 {
        self.spent.values().map(|amount| amount.bytes).sum::<i64>().saturating_add(self.reported.bytes)
    }

    /// Packs what the log must hear. With `all_room`, and when no session is left, all unspent room goes back too.
    pub fn pack(&mut self, key: BookKey, all_room: bool, applied: LogIndex) -> Parcel {
        let mut returned = std::mem::take(&mut self.returning);
        if all_room || self.members == 0 {
            for (limits, pot) in &mut self.pots {
                *returned.entry(*limits).or_default() += std::mem::take(&mut pot.room);
            }
        }
        let taken = self.credits.len().min(MAX_CREDITS);
        let credits: Vec<CreditItem> = self.credits.drain(..taken).collect();
        self.credits_in_flight.extend(credits.iter().copied());
        let changes = if self.credits.is_empty() { self.changes } else { self.told };
        self.in_flight += 1;
        let settlement = AccountSettlement {
            account: key.account,
            since: key.since,
            spent: without_zeros(std::mem::take(&mut self.spent)),
            returned: without_zeros(returned),
            reported: std::mem::take(&mut self.reported),
            settled_through: self.settled_through(applied, &credits),
            credits,
            mark: std::mem::take(&mut self.mark),
            seen: std::mem::take(&mut self.seen),
        };
        Parcel { settlement, changes }
    }

    /// Credits measured before this index are settled once the parcel is applied.
    fn settled_through(&self, applied: LogIndex, in_parcel: &[CreditItem]) -> LogIndex {
        let waiting = self.credits.iter().map(|credit| credit.measured);
        let flying =
            self.credits_in_flight.iter().filter(|credit| !in_parcel.contains(credit)).map(|credit| credit.measured);
        let measuring = self.measuring.values().copied();
        waiting.chain(flying).chain(measuring).min().map_or(applied, |first| first.min(applied))
    }

    /// The log has it.
    pub fn delivered(&mut self, parcel: Parcel) {
        self.in_flight -= 1;
        self.told = self.told.max(parcel.changes);
        self.forget_flying(&parcel.settlement.credits);
    }

    /// The log does not have it and will not get it: everything goes back where it was.
    pub fn undelivered(&mut self, parcel: Parcel) {
        self.in_flight -= 1;
        let settlement = parcel.settlement;
        self.forget_flying(&settlement.credits);
        for (limits, amount) in settlement.spent {
            *self.spent.entry(limits).or_default() += amount;
        }
        for (limits, amount) in settlement.returned {
            *self.returning.entry(limits).or_default() += amount;
        }
        self.reported += settlement.reported;
        self.credits.extend(settlement.credits);
        self.mark |= settlement.mark;
        self.seen.extend(settlement.seen);
        self.changed_for_the_log();
    }

    fn forget_flying(&mut self, credits: &[CreditItem]) {
        self.credits_in_flight.retain(|flying| !credits.contains(flying));
    }

    /// The uploads that hold room, for an answer. What exceeds the list is summed into its youngest, so that others rather wait.
    pub fn open_uploads(&self) -> Vec<OpenUpload> {
        let mut uploads: Vec<OpenUpload> = self
            .holdings
            .values()
            .filter_map(|holding| {
                let room = holding.room();
                let order = holding.order?;
                room.is_positive().then_some(OpenUpload { order, room, failed: holding.failed })
            })
            .collect();
        uploads.sort_by_key(|upload| upload.order);
        while uploads.len() > MAX_LISTED_UPLOADS {
            let Some(youngest) = uploads.pop() else { break };
            if let Some(last) = uploads.last_mut() {
                last.order = youngest.order;
                last.room += youngest.room;
                last.failed |= youngest.failed;
            }
        }
        uploads
    }
}

fn without_zeros(amounts: BTreeMap<Limits, Amount>) -> Vec<(Limits, Amount)> {
    amounts.into_iter().filter(|(_, amount)| !amount.is_zero()).collect()
}
