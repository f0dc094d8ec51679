//! Scans accounts that are marked or left behind by dead epochs, while nobody uses them (7.2, the idle form).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use flotilla_model::command::{AccountCommand, ScanBegin, ScanCommit};
use flotilla_model::reply::AccountDone;
use flotilla_model::{Account, AccountId, Amount, Done, State};
use flotilla_vfs::{Guard, GuardRef, Stopped, VfsError};
use tokio::time::Instant;

use super::Inner;
use super::fence::unfenced;

/// Accounts looked at per round when all are.
const ROUND: usize = 10_000;

/// Accounts that may want a scan.
#[derive(Default)]
pub(super) struct Candidates {
    noted: Mutex<BTreeSet<AccountId>>,
    all: AtomicBool,
}

impl Candidates {
    pub fn note(&self, account: AccountId) {
        self.noted.lock().expect("no panic while locked").insert(account);
    }
    pub fn note_all(&self) {
        self.all.store(true, Ordering::Release);
    }
    fn take(&self) -> BTreeSet<AccountId> {
        std::mem::take(&mut *self.noted.lock().expect("no panic while locked"))
    }
}

/// A scan stops with the lease of the node that makes it.
struct LeaseGuard(Arc<flotilla_cluster::Lease>);
impl Guard for LeaseGuard {
    fn check(&self) -> Result<(), Stopped> {
        self.0.check().map_err(|_| Stopped)
    }
}

/// Runs until the ledger stops.
pub(super) async fn run(inner: Arc<Inner>) {
    if !inner.config.scans {
        return;
    }
    inner.scans.note_all();
    loop {
        tokio::select! {
            () = tokio::time::sleep(inner.config.scan_every) => {}
            () = inner.stop.cancelled() => return,
        }
        let state = inner.cluster.state();
        if inner.scans.all.swap(false, Ordering::AcqRel) {
            note_all_that_want(&inner, &state).await;
        }
        for account in inner.scans.take() {
            let Some(row) = state.account(account) else { continue };
            if !state.wants_scan(row) {
                continue;
            }
            if state.scan_obstacle(row, false).is_some() {
                // What is in its way need not touch its row when it goes: looked at again.
                inner.scans.note(account);
                continue;
            }
            inner.scan_in_turn(&state, row).await;
        }
    }
}

async fn note_all_that_want(inner: &Inner, state: &State) {
    for (looked, row) in state.accounts().enumerate() {
        if state.wants_scan(row) {
            inner.scans.note(row.id);
        }
        if looked % ROUND == ROUND - 1 {
            tokio::task::yield_now().await;
        }
    }
}

impl Inner {
    /// One node scans; the others come later, each by its rank, and find it done.
    async fn scan_in_turn(self: &Arc<Self>, state: &State, row: &Account) {
        let Some(lease) = self.cluster.lease().filter(|lease| !lease.is_dead()) else { return };
        let rank = state.nodes().filter(|node| node.alive && node.id < lease.node()).count() as u32;
        let stop_at = Instant::now() + self.config.scan_every * rank;
        tokio::time::sleep_until(stop_at).await;
        let state = self.cluster.state();
        let Some(row) = state.account(row.id).filter(|row| state.wants_scan(row)) else { return };
        if let Err(error) = self.scan(&state, row, lease, false).await {
            tracing::debug!(account = row.id.0, %error, "scan has to wait");
        }
        // Looked at again as long as it wants one: what is in its way need not touch its row.
        self.scans.note(row.id);
    }

    /// Fence, begin, count, commit.
    async fn scan(
        self: &Arc<Self>,
        state: &State,
        row: &Account,
        lease: Arc<flotilla_cluster::Lease>,
        force: bool,
    ) -> Result<(), VfsError> {
        let storage = self.storage_of(row)?;
        let guard: GuardRef = Arc::new(LeaseGuard(Arc::clone(&lease)));
        if state.scan_obstacle(row, force).is_some() {
            return Err(VfsError::Invalid("account is in use, or a dead epoch may still write"));
        }
        let dead = unfenced(row, |node, epoch| state.epoch_alive(node, epoch));
        for told in self.fence_all(row, &dead, &guard).await? {
            told.await.map_err(|_| VfsError::Invalid("stopping"))?;
        }
        let begin = ScanBegin { account: row.id, node: lease.node(), epoch: lease.epoch(), force };
        let begun = match self.submit_plain("scan_begin", AccountCommand::ScanBegin(begin)).await.map(|s| s.reply) {
            Some(Ok(Done::Account(AccountDone::ScanBegun { begun }))) => begun,
            _ => return Err(VfsError::Invalid("scan was not begun")),
        };
        let usage = storage.scan(row.root.path(), row.id.0, &guard).await?;
        let found = Amount::of(usage.bytes, usage.files);
        let commit = ScanCommit { account: row.id, begun, found };
        let reply = self.submit_plain("scan_commit", AccountCommand::ScanCommit(commit)).await.map(|s| s.reply);
        tracing::info!(account = row.id.0, bytes = found.bytes, files = found.files, ?reply, "account scanned");
        Ok(())
    }
}
