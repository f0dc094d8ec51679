//! Who gets room, who waits, who is refused (5.2, 5.3).
//!
//! Freed room goes to those that wait, oldest first. Only one that asks is ever refused: when no room is left for it, every living
//! holder has answered since its last grant, and neither a younger upload nor a failed one holds room that may come back.

use super::sheet::Sheet;
use crate::{
    Amount, Epoch, Limits, LogIndex, NodeId, OpenUpload, Shortage, UploadOrder, Waiter, WaiterId, WaiterState,
};

/// Whether a need fits: a dimension in which nothing is needed is not looked at.
pub(super) fn fits(need: Amount, room: Amount) -> bool {
    (need.bytes <= 0 || need.bytes <= room.bytes) && (need.files <= 0 || need.files <= room.files)
}

/// Whether room in `held` would help a need that does not fit into `room`.
fn helps(held: Amount, need: Amount, room: Amount) -> bool {
    (need.bytes > room.bytes && need.bytes > 0 && held.bytes > 0)
        || (need.files > room.files && need.files > 0 && held.files > 0)
}

/// Gives and refuses as far as the rules allow now.
pub(super) fn decide(sheet: &mut Sheet<'_>) {
    if sheet.row.waiters.is_empty() {
        return;
    }
    sheet.forget_dead_waiters();
    sheet.serve();
    while sheet.refuse_one() {
        sheet.serve();
    }
}

impl Sheet<'_> {
    /// Whether grants are given at all: what lay in the root is known, nothing is uncertain, and every living holder takes grants only (4.4).
    pub fn takes_grants(&self) -> bool {
        let confirmed = self.living().all(|(_, holder)| holder.confirmed >= self.row.limited_since);
        self.row.inspected && !self.is_uncertain() && (confirmed || !self.row.is_limited())
    }

    pub fn give(&mut self, node: NodeId, epoch: Epoch, limits: Limits, amount: Amount) {
        let index = self.index;
        if amount.is_zero() {
            return;
        }
        self.row.activity = index;
        if amount.bytes > 0 {
            self.row.granted.bytes = index;
        }
        if amount.files > 0 {
            self.row.granted.files = index;
        }
        if let Some(holder) = self.row.holders.get_mut(&(node, epoch)) {
            *holder.outstanding.entry(limits).or_default() += amount;
            holder.last_grant = index;
        }
    }

    fn forget_dead_waiters(&mut self) {
        let dead: Vec<WaiterId> =
            self.row.waiters.keys().filter(|id| !self.alive(id.node, id.epoch)).copied().collect();
        for id in dead {
            self.row.waiters.remove(&id);
        }
    }

    /// Those that wait, oldest first. One without an order is the youngest.
    fn waiting(&self) -> Vec<WaiterId> {
        let mut waiting: Vec<(bool, Option<UploadOrder>, WaiterId)> = self
            .row
            .waiters
            .iter()
            .filter(|(_, waiter)| waiter.state == WaiterState::Waiting)
            .map(|(id, waiter)| (waiter.order.is_none(), waiter.order, *id))
            .collect();
        waiting.sort();
        waiting.into_iter().map(|(_, _, id)| id).collect()
    }

    /// Gives what fits, oldest first.
    pub fn serve(&mut self) {
        if !self.takes_grants() {
            return;
        }
        for id in self.waiting() {
            let Some(waiter) = self.row.waiters.get(&id) else { continue };
            let need = waiter.need;
            let Some(limits) = self.limits_of(&waiter.username, waiter.incarnation) else { continue };
            if !fits(need, limits.room(self.row.taken())) || !self.row.holders.contains_key(&(id.node, id.epoch)) {
                continue;
            }
            self.give(id.node, id.epoch, limits, need);
            self.answer_waiter(id, WaiterState::Granted { index: self.index, limits });
        }
    }

    fn answer_waiter(&mut self, id: WaiterId, state: WaiterState) {
        if let Some(waiter) = self.row.waiters.get_mut(&id) {
            waiter.state = state;
        }
    }

    /// Refuses the youngest that may be refused. `false`: none may.
    fn refuse_one(&mut self) -> bool {
        for id in self.waiting().into_iter().rev() {
            let Some(waiter) = self.row.waiters.get(&id) else { continue };
            let Some(limits) = self.limits_of(&waiter.username, waiter.incarnation) else {
                let shortage = self.shortage(Limits::NONE, waiter.need, true);
                self.answer_waiter(id, WaiterState::Refused(shortage));
                return true;
            };
            if self.may_refuse(waiter, limits) {
                let shortage = self.shortage(limits, waiter.need, false);
                self.answer_waiter(id, WaiterState::Refused(shortage));
                return true;
            }
        }
        false
    }

    fn may_refuse(&self, waiter: &Waiter, limits: Limits) -> bool {
        if !self.row.inspected || self.is_uncertain() {
            return true;
        }
        let room = limits.room(self.row.taken());
        if fits(waiter.need, room) {
            // Others must first take grants only: wait for them, or for the end of the wait.
            return waiter.time_over;
        }
        let hopeful = |held: Amount| helps(held, waiter.need, room);
        if self.failed_rooms().any(hopeful) {
            return false;
        }
        if waiter.time_over {
            return true;
        }
        self.all_have_answered() && !self.younger_rooms(waiter.order).any(hopeful)
    }

    /// Room of failed uploads that is on its way back: refused ones not yet credited, and those that nodes report.
    fn failed_rooms(&self) -> impl Iterator<Item = Amount> {
        let refused = self.row.waiters.values().filter(|waiter| matches!(waiter.state, WaiterState::Refused(_)));
        let reported = self.reported_uploads().filter(|upload| upload.failed).map(|upload| upload.room);
        refused.map(|waiter| waiter.holds).chain(reported)
    }

    /// Room of uploads younger than this one. One without an order is the youngest: none is younger.
    fn younger_rooms(&self, order: Option<UploadOrder>) -> impl Iterator<Item = Amount> {
        let uploads = self.reported_uploads().filter(move |upload| order.is_some_and(|mine| upload.order > mine));
        uploads.map(|upload| upload.room)
    }

    /// Unpublished uploads of living epochs; those of dead ones count as taken room.
    fn reported_uploads(&self) -> impl Iterator<Item = &OpenUpload> {
        self.living().filter_map(|(_, holder)| holder.answer.as_ref()).flat_map(|answer| answer.uploads.iter())
    }

    /// Whether every living holder has answered the recall, and no grant went to it since its answer began.
    fn all_have_answered(&self) -> bool {
        self.living().all(|(_, holder)| self.has_answered(holder.last_grant, holder.answer.as_ref().map(|a| a.begun)))
    }

    fn has_answered(&self, last_grant: LogIndex, begun: Option<LogIndex>) -> bool {
        begun.is_some_and(|begun| begun >= self.row.recall.max(last_grant))
    }

    fn shortage(&self, limits: Limits, need: Amount, user_gone: bool) -> Shortage {
        let in_use: Amount = self.living().map(|(_, holder)| holder.outstanding()).sum();
        let silent = self.living().filter(|(_, holder)| {
            holder.outstanding().is_positive()
                && !self.has_answered(holder.last_grant, holder.answer.as_ref().map(|a| a.begun))
        });
        Shortage {
            limits,
            need,
            used: self.row.used,
            in_use,
            dead: self.row.outstanding() - in_use,
            out_of_reach: silent.map(|(node, _)| node).collect(),
            uncertain: !self.row.inspected || self.is_uncertain(),
            user_gone,
        }
    }
}
