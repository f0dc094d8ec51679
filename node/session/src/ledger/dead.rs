//! A process that outlived its lease settles its dead epoch itself, once all jobs of it have returned (7.1).

use std::sync::Arc;

use flotilla_model::State;
use flotilla_model::command::{AccountCommand, MAX_CREDITS, SettleDead};

use super::Inner;
use super::book::{Book, Pages};

impl Inner {
    /// If nothing of the dead epoch runs any more, tells the log all that it ever stored here.
    pub(super) fn end_dead(self: &Arc<Self>, book: &Arc<Book>, state: &State) {
        let command = {
            let mut pages = book.lock();
            let running = pages.members > 0
                || !pages.holdings.is_empty()
                || !pages.measuring.is_empty()
                || pages.in_flight > 0
                || pages.answering
                || pages.confirming
                || pages.saying
                || !pages.unseen.is_quiet()
                || pages.is_asking();
            if running || pages.ending || pages.settled_dead {
                return;
            }
            let row = state.account(book.key.account);
            let known = row.and_then(|row| book.holder_in(row)).is_some_and(|holder| !holder.settled);
            if row.is_none() || (!known && !pages.is_dirty()) {
                pages.settled_dead = true;
                return;
            }
            pages.ending = true;
            pages.last_settlement(book)
        };
        let (inner, book) = (Arc::clone(self), Arc::clone(book));
        self.runtime.spawn(async move {
            let account = command.account;
            let submitted = inner.submit_plain("settle_dead", AccountCommand::SettleDead(command)).await;
            {
                let mut pages = book.lock();
                pages.ending = false;
                pages.settled_dead = submitted.is_some();
            }
            if submitted.is_none() {
                tokio::time::sleep(inner.config.submit_deadline).await;
            }
            inner.touch(account);
        });
    }
}

impl Pages {
    /// All that was ever stored under a dead epoch, once nothing of it runs any more.
    pub(super) fn last_settlement(&self, book: &Book) -> SettleDead {
        SettleDead {
            account: book.key.account,
            node: book.lease.node(),
            epoch: book.lease.epoch(),
            since: book.key.since,
            total: self.total,
            credits: self.credits.iter().take(MAX_CREDITS).copied().collect(),
            // What does not fit stays charged until a scan.
            mark: self.mark || self.credits.len() > MAX_CREDITS,
        }
    }
}
