//! What the log must hear of a book: packed, delivered or taken back.

use std::collections::BTreeMap;

use flotilla_model::command::{AccountSettlement, CreditItem, MAX_CREDITS, MAX_LISTED_UPLOADS};
use flotilla_model::{Amount, Limits, LogIndex, OpenUpload};

use super::{BookKey, Pages};

/// What was taken out of a book for the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::ledger) struct Parcel {
    pub settlement: AccountSettlement,
    /// The book's count of changes when it was packed.
    pub changes: u64,
}

impl Pages {
    /// Packs what the log must hear. With `all_room`, and when no session is left, all unspent room goes back too.
    pub(in crate::ledger) fn pack(&mut self, key: BookKey, all_room: bool, applied: LogIndex) -> Parcel {
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
            disturbed: self.unseen.take(),
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

    /// A parcel's command is answered.
    pub(in crate::ledger) fn arrived(&mut self, parcel: Parcel, taken: bool) {
        if taken { self.delivered(parcel) } else { self.undelivered(parcel) }
    }

    /// The log has it.
    fn delivered(&mut self, parcel: Parcel) {
        self.in_flight -= 1;
        self.told = self.told.max(parcel.changes);
        self.forget_flying(&parcel.settlement.credits);
    }

    /// The log does not have it and will not get it: everything goes back where it was.
    fn undelivered(&mut self, parcel: Parcel) {
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
        self.unseen.shrunk |= settlement.disturbed;
        self.seen.extend(settlement.seen);
        self.changed_for_the_log();
    }

    fn forget_flying(&mut self, credits: &[CreditItem]) {
        self.credits_in_flight.retain(|flying| !credits.contains(flying));
    }

    /// The uploads that hold room, for an answer. What exceeds the list is summed into its youngest, so that others rather wait.
    pub(in crate::ledger) fn open_uploads(&self) -> Vec<OpenUpload> {
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
