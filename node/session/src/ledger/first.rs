//! The first grant, which travels with a session's open (2.1): taken up when its row is seen, before anybody can ask for an answer
//! that would overlook it.

use std::collections::BTreeSet;
use std::sync::Arc;

use flotilla_cluster::Changed;
use flotilla_model::{Amount, Effect, Session, SessionId, State, User};

use super::Inner;
use super::ask::FIRST_AHEAD;
use super::book::BookKey;

impl Inner {
    /// See [`super::Ledger::wanted_at_open`].
    pub(super) fn wanted_at_open(&self, user: &User) -> Amount {
        let state = self.cluster.state();
        let Some(row) = state.account(user.account).filter(|row| row.is_limited() && !row.has_waiting()) else {
            return Amount::ZERO;
        };
        let limits = user.limits();
        let here: Amount = self.books_of(row.id).iter().map(|book| book.lock().spendable(limits)).sum();
        let enough = Amount::new(FIRST_AHEAD.bytes / 2, FIRST_AHEAD.files / 2).fits(here);
        if enough { Amount::ZERO } else { FIRST_AHEAD }
    }

    /// From `reconcile`, in order, each state once: what was opened since the last one is new.
    pub(super) fn take_first_grants(&self, state: &Arc<State>, changed: &Changed) {
        let before = self.seen.lock().expect("no panic while locked").applied_index();
        let own = self.cluster.node();
        match changed {
            Changed::Everything => {
                state
                    .sessions_of_node(own)
                    .filter(|row| row.opened_index > before)
                    .for_each(|row| self.take(state, row));
                self.forget_reserved(|id| state.live_session(id).is_none());
            }
            Changed::Rows(effects) => {
                let sessions: BTreeSet<SessionId> = effects
                    .iter()
                    .filter_map(|effect| match effect {
                        Effect::Session(id) if id.node == own => Some(*id),
                        _ => None,
                    })
                    .collect();
                for id in &sessions {
                    if let Some(row) = state.live_session(*id).filter(|row| row.opened_index > before) {
                        self.take(state, row);
                    }
                }
                if effects.iter().any(|effect| matches!(effect, Effect::Node(_))) {
                    self.forget_reserved(|id| state.live_session(id).is_none());
                } else {
                    self.forget_reserved(|id| sessions.contains(&id) && state.live_session(id).is_none());
                }
            }
        }
        *self.seen.lock().expect("no panic while locked") = Arc::clone(state);
    }

    fn take(&self, state: &State, session: &Session) {
        let Some(first) = session.first_grant else { return };
        let Some(lease) = self.cluster.lease().filter(|lease| lease.epoch() == session.id.epoch) else { return };
        let Some(row) = state.account(session.account) else { return };
        let Some(holder) = row.holders.get(&(lease.node(), lease.epoch())) else { return };
        let key = BookKey { account: row.id, epoch: lease.epoch(), since: holder.since };
        // The session's place in the book: without it the room would go back before the session enters.
        let book = self.open_book(key, &lease, row.is_limited(), holder, 1);
        self.reserved.lock().expect("no panic while locked").insert(session.id, key);
        let index = session.opened_index;
        book.lock()
            .deliver(None, Amount::ZERO, first.limits, first.amount, index, |_| unreachable!("nothing is charged"));
    }

    /// The session enters: whether its place is there already.
    pub(super) fn take_reserved(&self, session: SessionId, key: BookKey) -> bool {
        let mut reserved = self.reserved.lock().expect("no panic while locked");
        reserved.get(&session) == Some(&key) && reserved.remove(&session).is_some()
    }

    /// Sessions that ended without having entered leave their places.
    fn forget_reserved(&self, over: impl Fn(SessionId) -> bool) {
        let gone: Vec<BookKey> = {
            let mut reserved = self.reserved.lock().expect("no panic while locked");
            let ids: Vec<SessionId> = reserved.keys().copied().filter(|id| over(*id)).collect();
            ids.iter().filter_map(|id| reserved.remove(id)).collect()
        };
        for book in gone.into_iter().filter_map(|key| self.book(key)) {
            book.lock().members -= 1;
            self.book_is_due(&book, true);
            self.touch(book.key.account);
        }
    }

    /// The state in which every first grant has been taken up.
    pub(super) fn seen(&self) -> Arc<State> {
        Arc::clone(&self.seen.lock().expect("no panic while locked"))
    }
}
