//! Scans accounts that are marked or left behind by dead epochs: while nobody uses them (7.2), or, where it presses, in use (7.3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flotilla_cluster::Lease;
use flotilla_model::command::{AccountCommand, ScanBegin, ScanCommit};
use flotilla_model::reply::{AccountDone, AccountRefusal};
use flotilla_model::{Account, AccountId, Amount, Done, State};
use flotilla_vfs::{Guard, GuardRef, Stopped, VfsError};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Inner;
use super::fence::unfenced;

/// Accounts looked at per round when all are.
const ROUND: usize = 10_000;
/// Rounds that an account whose scan failed lets others go first.
const PAUSE_AFTER_FAILURE: u32 = 5;
/// An account that is still marked behind a scan rests for so many times as long as it took.
const PAUSE_AFTER_SCAN: u32 = 10;
/// Scans of this node at one time.
const AT_ONCE: usize = 2;

/// Accounts that may want a scan.
pub(super) struct Candidates {
    /// From when on there is something to do: nodes take their turns then.
    noted: Mutex<BTreeMap<AccountId, Option<Instant>>>,
    all: AtomicBool,
    places: Arc<Semaphore>,
    running: Mutex<BTreeSet<AccountId>>,
}

impl Default for Candidates {
    fn default() -> Self {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        Candidates { noted: Mutex::default(), all: AtomicBool::new(false), places, running: Mutex::default() }
    }
}

impl Candidates {
    pub fn note(&self, account: AccountId) {
        self.noted.lock().expect("no panic while locked").entry(account).or_default();
    }
    pub fn note_all(&self) {
        self.all.store(true, Ordering::Release);
    }
}

/// A scan stops with the lease of the node that makes it.
struct LeaseGuard(Arc<Lease>);
impl Guard for LeaseGuard {
    fn check(&self) -> Result<(), Stopped> {
        self.0.check().map_err(|_| Stopped)
    }
}

/// Whether no scan can run now: a process of a dead epoch may still write, or the account is used and can wait until it is not.
fn has_to_wait(state: &State, row: &Account) -> bool {
    match state.scan_obstacle(row, row.forced) {
        None => false,
        Some(AccountRefusal::InUse) => !state.scan_is_pressing(row),
        Some(_) => true,
    }
}

fn is_scanned_by_another(state: &State, row: &Account, lease: &Lease) -> bool {
    row.scan.as_ref().is_some_and(|scan| scan.node != lease.node() && state.epoch_alive(scan.node, scan.epoch))
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
        for account in inner.most_urgent_first(&state) {
            let Ok(place) = Arc::clone(&inner.scans.places).try_acquire_owned() else { break };
            if inner.scans.running.lock().expect("no panic while locked").insert(account) {
                let inner = Arc::clone(&inner);
                inner.runtime.clone().spawn(async move {
                    inner.fence_and_scan(account).await;
                    inner.scans.running.lock().expect("no panic while locked").remove(&account);
                    drop(place);
                });
            }
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
    /// Accounts in which this node has something to do now. What is in a scan's way need not touch the row when it goes: an account
    /// stays noted as long as it wants one.
    fn most_urgent_first(&self, state: &State) -> Vec<AccountId> {
        let Some(lease) = self.cluster.lease().filter(|lease| !lease.is_dead()) else { return Vec::new() };
        let mut urgent = Vec::new();
        let mut noted = self.scans.noted.lock().expect("no panic while locked");
        noted.retain(|account, ready| {
            let Some(row) = state.account(*account).filter(|row| state.wants_scan(row)) else { return false };
            let unfenced = state.dead_holders(row).any(|(_, _, holder)| !holder.fenced);
            if (!unfenced && has_to_wait(state, row)) || is_scanned_by_another(state, row, &lease) {
                *ready = None;
                return true;
            }
            let now = Instant::now();
            let from = ready.get_or_insert(now);
            if row.asked {
                // No pause behind an earlier scan keeps an administrator waiting.
                *from = (*from).min(now);
            }
            if now >= *from + self.turn(state, &lease, *account) {
                urgent.push((state.scan_rank(row), *account));
            }
            true
        });
        urgent.sort_unstable();
        urgent.into_iter().map(|(_, account)| account).collect()
    }

    /// One node scans; the others come later, each by its rank, and find it done. Accounts are spread over the nodes.
    fn turn(&self, state: &State, lease: &Lease, account: AccountId) -> Duration {
        let alive = state.nodes().filter(|node| node.alive).count().max(1) as u64;
        let before = state.nodes().filter(|node| node.alive && node.id < lease.node()).count() as u64;
        self.config.scan_every * u32::try_from((before + account.0) % alive).unwrap_or(u32::MAX)
    }

    async fn fence_and_scan(self: &Arc<Self>, account: AccountId) {
        let state = self.cluster.state();
        let Some(lease) = self.cluster.lease().filter(|lease| !lease.is_dead()) else { return };
        let Some(row) = state.account(account).filter(|row| state.wants_scan(row)) else { return };
        let begun = Instant::now();
        if let Err(error) = self.scan(&state, row, lease).await {
            tracing::debug!(account = account.0, %error, "scan has to wait");
        } else if !self.cluster.state().account(account).is_some_and(|row| row.marked) {
            return;
        }
        // Of an account that is used all the time only a part of the time is spent on scans.
        let pause = (self.config.scan_every * PAUSE_AFTER_FAILURE).max(begun.elapsed() * PAUSE_AFTER_SCAN);
        self.scans.noted.lock().expect("no panic while locked").insert(account, Some(Instant::now() + pause));
    }

    /// Fence, begin, count, commit.
    async fn scan(self: &Arc<Self>, state: &State, row: &Account, lease: Arc<Lease>) -> Result<(), VfsError> {
        let storage = self.storage_of(row)?;
        let guard: GuardRef = Arc::new(LeaseGuard(Arc::clone(&lease)));
        let dead = unfenced(row, |node, epoch| state.epoch_alive(node, epoch));
        for told in self.fence_all(row, &dead, &guard).await? {
            told.await.map_err(|_| VfsError::Invalid("stopping"))?;
        }
        self.sweep(state, row, &guard).await?;
        if has_to_wait(state, row) {
            return Err(VfsError::Invalid("account is in use, or a dead epoch may still write"));
        }
        if state.scan_obstacle(row, row.forced).is_some() {
            return self.scan_in_use(row.id, &lease, &guard).await;
        }
        let begin =
            ScanBegin { account: row.id, node: lease.node(), epoch: lease.epoch(), force: row.forced, live: false };
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
