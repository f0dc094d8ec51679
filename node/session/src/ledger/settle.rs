//! Settles in batches: what was published, reported, credited and freed, of many accounts in one command.

use std::sync::Arc;

use flotilla_model::LogIndex;
use flotilla_model::command::{AccountCommand, MAX_CREDITS, MAX_SETTLED_ACCOUNTS, Settle};

use super::Inner;
use super::book::{Book, Parcel};
use super::submit::Outcome;

/// Runs until the ledger stops.
pub(super) async fn run(inner: Arc<Inner>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(inner.config.settle_every) => {}
            () = inner.settle_now.notified() => {}
            () = inner.stop.cancelled() => return,
        }
        inner.settle_due().await;
    }
}

impl Inner {
    /// Brings everything that is due to the log, in commands of bounded size.
    async fn settle_due(self: &Arc<Self>) {
        let due = std::mem::take(&mut *self.due.lock().expect("no panic while locked"));
        let mut books: Vec<Arc<Book>> = due.into_iter().filter_map(|key| self.book(key)).collect();
        books.retain(|book| book.lock().is_dirty());
        while !books.is_empty() {
            let batch = take_batch(&mut books);
            self.settle_batch(batch).await;
        }
    }

    async fn settle_batch(self: &Arc<Self>, books: Vec<Arc<Book>>) {
        let applied: LogIndex = self.cluster.state().applied_index();
        let mut packed: Vec<(Arc<Book>, Parcel)> = Vec::with_capacity(books.len());
        let mut carrying = Vec::with_capacity(books.len());
        for book in books {
            // An answer or confirmation is on its way and takes all with it; what comes up meanwhile is due again behind it.
            let Ok(mine) = Arc::clone(&book.carrying).try_lock_owned() else { continue };
            carrying.push(mine);
            let parcel = book.lock().pack(book.key, false, applied);
            packed.push((book, parcel));
        }
        let Some(lease) = packed.first().map(|(book, _)| Arc::clone(&book.lease)) else { return };
        let accounts = packed.iter().map(|(_, parcel)| parcel.settlement.clone()).collect();
        let outcome = self.submit_numbered(&lease, "settle", AccountCommand::Settle(Settle { accounts })).await;
        let applied = matches!(&outcome, Outcome::Answered(submitted) if submitted.reply.is_ok());
        for (book, parcel) in packed {
            let mut pages = book.lock();
            pages.arrived(parcel, applied);
            let more = pages.is_dirty() && applied;
            drop(pages);
            self.heard(&book);
            if more {
                self.book_is_due(&book, false);
            }
        }
    }
}

/// Takes books of one lease, few enough for one command.
fn take_batch(books: &mut Vec<Arc<Book>>) -> Vec<Arc<Book>> {
    let epoch = books[0].key.epoch;
    let mut credits = 0;
    let mut batch = Vec::new();
    let mut rest = Vec::new();
    for book in books.drain(..) {
        let fits = book.key.epoch == epoch && batch.len() < MAX_SETTLED_ACCOUNTS && credits < 2 * MAX_CREDITS;
        if fits {
            credits += book.lock().credits.len().min(MAX_CREDITS);
            batch.push(book);
        } else {
            rest.push(book);
        }
    }
    *books = rest;
    batch
}
