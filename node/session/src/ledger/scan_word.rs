//! A node's part in the scan of an account that it uses (7.3): it confirms the begin and settles, and after the walk it settles again.

use std::sync::Arc;
use std::time::Duration;

use flotilla_model::command::{AccountCommand, ScanWord};
use flotilla_model::{Account, Epoch, LogIndex, NodeId};
use tokio::time::Instant;

use super::Inner;
use super::book::{Book, Pages};

/// A confirmation waits this long for writes in place that began before it; one that takes longer tells of itself when it is over.
const WAIT_FOR_WRITES: Duration = Duration::from_secs(1);

/// The word that a row is asked for: of which scan, and whether it is the report.
pub(super) fn wanted_word(row: &Account, key: (NodeId, Epoch)) -> Option<(LogIndex, bool)> {
    let scan = row.scan.as_ref()?;
    let live = scan.live.as_ref().filter(|live| live.awaited.contains(&key))?;
    Some((scan.begun, live.walked.is_some()))
}

impl Pages {
    /// Whether a word is due; it is on its way from here on.
    pub(super) fn begin_word(&mut self, wanted: Option<(LogIndex, bool)>) -> Option<(LogIndex, bool)> {
        let word = wanted.filter(|word| !self.saying && self.said < Some(*word))?;
        self.saying = true;
        Some(word)
    }
}

impl Inner {
    pub(super) async fn say_of_scan(self: Arc<Self>, book: Arc<Book>, word: (LogIndex, bool)) {
        let (begun, report) = word;
        if !report {
            await_writes(&book, begun).await;
        }
        let _carrying = book.carrying.lock().await;
        let applied = self.cluster.state().applied_index();
        let parcel = {
            let mut pages = book.lock();
            if !report {
                pages.unseen.forget_moves();
            }
            let mut parcel = pages.pack(book.key, false, applied);
            parcel.settlement.disturbed |= report && pages.hides_something();
            parcel
        };
        let said = ScanWord { begun, settlement: parcel.settlement.clone() };
        let (verb, command) = match report {
            false => ("scan_confirm", AccountCommand::ScanConfirm(said)),
            true => ("scan_report", AccountCommand::ScanReport(said)),
        };
        let taken = self.carry(&book, verb, parcel, command).await;
        let mut pages = book.lock();
        pages.saying = false;
        if taken {
            pages.said = pages.said.max(Some(word));
        }
        drop(pages);
        self.heard(&book);
    }
}

/// From here on sizes are looked up anew; those that were judged by earlier ones are let end.
async fn await_writes(book: &Book, begun: LogIndex) {
    book.lock().unseen.begin_scan(begun);
    let until = Instant::now() + WAIT_FOR_WRITES;
    loop {
        let changed = book.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if !book.lock().unseen.writes_from_before() || tokio::time::timeout_at(until, changed).await.is_err() {
            return;
        }
    }
}
