//! A node's part in the scan of an account that it uses (7.3): it confirms the begin and settles, and after the walk it settles again.

use std::sync::Arc;
use std::time::Duration;

use flotilla_model::command::{AccountCommand, ScanWord};
use flotilla_model::{Account, Epoch, LogIndex, NodeId};
use tokio::time::Instant;

use super::Inner;
use super::book::{Book, BookKey, Pages, Parcel};

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

    /// Settles with a confirmation, or with a report, which also tells what a walk that is over may have missed. What it may have found
    /// already, although it is settled behind the report, marks then.
    pub(super) fn pack_word(&mut self, key: BookKey, report: bool, applied: LogIndex) -> Parcel {
        if !report {
            self.unseen.forget_moves();
        }
        let mut parcel = self.pack(key, false, applied);
        if report {
            parcel.settlement.disturbed |= self.hides_something();
            self.holdings.values_mut().for_each(|holding| holding.doubtful |= !holding.held.is_empty());
        }
        parcel
    }

    pub(super) fn end_word(&mut self, word: (LogIndex, bool), taken: bool) {
        self.saying = false;
        if taken {
            self.said = self.said.max(Some(word));
        }
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
        let parcel = book.lock().pack_word(book.key, report, applied);
        let said = ScanWord { begun, settlement: parcel.settlement.clone() };
        let (verb, command) = match report {
            false => ("scan_confirm", AccountCommand::ScanConfirm(said)),
            true => ("scan_report", AccountCommand::ScanReport(said)),
        };
        let taken = self.carry(&book, verb, parcel, command).await;
        book.lock().end_word(word, taken);
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
