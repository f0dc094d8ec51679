//! One account's local ledger under one epoch: granted room, what uploads hold of it, and what the log has not heard yet.
//!
//! Everything here is arithmetic under one short lock; whoever talks to the log takes a `Parcel` out and says later how it went.

mod parcel;
mod spend;
mod unseen;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use flotilla_cluster::Lease;
use flotilla_model::command::CreditItem;
use flotilla_model::{AccountId, Amount, Limits, LogIndex, Shortage, UploadOrder};
pub(super) use parcel::Parcel;
use tokio::sync::Notify;
use unseen::Unseen;

/// Names a book: the holder row that it speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Pot {
    pub room: Amount,
    /// Index and size of the last grant that went in.
    pub index: LogIndex,
    pub granted: Amount,
}

/// What one upload holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Holding {
    /// Per limits of the grant; `None`: without a grant, in an account without a limit.
    pub held: BTreeMap<Option<Limits>, Amount>,
    /// Its ask is on its way or waits: until then it takes no room by other writes. What the ask said it holds must stay true,
    /// since apply counts on just that much coming back when it refuses. What it held before: what the ask found here goes back with a
    /// refusal, at once, so that no other write may have used it.
    pub asking: Option<Amount>,
    pub order: Option<UploadOrder>,
    pub failed: bool,
    /// It held room when a scan's report was made: the walk may have found what the log counts with its next settlement.
    pub doubtful: bool,
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

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
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
    /// Removed files that may be stored without a name: being unlinked, or open here still.
    pub nameless: BTreeSet<u64>,
    /// Of those: removed files that are open here still, credited at their last close.
    pub held: BTreeMap<u64, CreditItem>,
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
    /// What a scan's walk may miss.
    pub unseen: Unseen,
    /// A word about a scan is on its way; and the last one that the log has: the scan, and whether it was the report.
    pub saying: bool,
    pub said: Option<(LogIndex, bool)>,
    pub asking_ahead: bool,
    /// Asks whose first answer is not here yet.
    pub asks: u32,
    pub settled_dead: bool,
    pub ending: bool,
    /// How many dead holders the row had when it was last looked at.
    pub deaths_seen: u64,
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
        if holding.asking.is_some() {
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
        if !limited {
            if !more.is_zero() {
                *holding.held.entry(None).or_default() += more;
            }
            return true;
        }
        if let Some(before) = holding.asking {
            return (total - before.min_each(holding.room())).at_least_zero().is_zero();
        }
        if more.is_zero() {
            return true;
        }
        pages.spend_granted(number, limits, more, |grant| self.order_of(grant, number))
    }

    /// Marks that an upload's ask begins or is over. One that nobody waits for any more still counts: what it found may go back yet.
    pub fn set_asking(&self, number: u64, asking: bool) {
        if let Some(holding) = self.lock().holdings.get_mut(&number) {
            holding.asking = asking.then(|| holding.asking.unwrap_or_else(|| holding.room()));
        }
    }
}

impl Pages {
    /// A place for one more upload.
    pub fn begin_holding(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.holdings.entry(number).or_default();
        number
    }

    /// A file is about to be measured, behind this index.
    pub fn begin_measuring(&mut self, applied: LogIndex) -> u64 {
        let token = self.next_number;
        self.next_number += 1;
        self.measuring.insert(token, applied);
        token
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
            && !self.saying
            && self.unseen.is_quiet()
            && !self.is_asking()
            && self.measuring.is_empty()
    }

    /// Bytes that wait to be settled.
    pub fn unsettled_bytes(&self) -> i64 {
        self.spent.values().map(|amount| amount.bytes).sum::<i64>().saturating_add(self.reported.bytes)
    }
}
