//! Granted room: into pots, out to uploads, published or back.

use flotilla_model::{Amount, Limits, LogIndex, UploadOrder};

use super::Pages;

impl Pages {
    /// What this user may spend of the granted room.
    pub(in crate::ledger) fn spendable(&self, limits: Limits) -> Amount {
        self.pots.iter().filter(|(tag, _)| limits.may_spend(**tag)).map(|(_, pot)| pot.room).sum()
    }

    pub(super) fn spend_granted(
        &mut self,
        number: u64,
        limits: Limits,
        want: Amount,
        order: impl Fn(LogIndex) -> UploadOrder,
    ) -> bool {
        want.fits(self.spendable(limits)) && self.spend_part(number, limits, want, order) == want
    }

    /// Charges as much of `want` as there is.
    pub(in crate::ledger) fn spend_part(
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
    pub(in crate::ledger) fn stop_waiting(&mut self, number: u64, ask: u64) -> bool {
        let Some(holding) = self.holdings.get_mut(&number).filter(|holding| holding.waiting == Some(ask)) else {
            return false;
        };
        holding.waiting = None;
        true
    }

    /// Whether more should be asked ahead of need: less than half of the last grant is left.
    pub(in crate::ledger) fn runs_low(&self, limits: Limits) -> bool {
        if !self.limited || self.short || self.asking_ahead || self.members == 0 {
            return false;
        }
        let Some(pot) = self.pots.get(&limits) else { return false };
        let low = |room: i64, granted: i64| room < granted / 2;
        low(pot.room.bytes, pot.granted.bytes) || low(pot.room.files, pot.granted.files)
    }

    /// A grant came: what the upload needs is its own, the rest goes into the pot.
    pub(in crate::ledger) fn deliver(
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
    pub(in crate::ledger) fn publish(&mut self, number: u64) {
        let Some(holding) = self.holdings.get_mut(&number) else { return };
        let held = std::mem::take(&mut holding.held);
        self.mark |= std::mem::take(&mut holding.doubtful) && !held.is_empty();
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
    pub(in crate::ledger) fn give_back(&mut self, number: u64, amount: Amount) {
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
    pub(in crate::ledger) fn end(&mut self, number: u64) {
        let Some(holding) = self.holdings.remove(&number) else { return };
        debug_assert!(holding.room().is_zero());
        if let Some((ask, _)) = holding.refused {
            self.seen.push(ask);
            self.changed_for_the_log();
        }
        self.answer_stale = true;
    }
}
