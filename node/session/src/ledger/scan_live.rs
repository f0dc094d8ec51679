//! Scans an account while it is used (7.3): the nodes confirm, the tree is walked, the nodes report. What was renamed under the walk makes
//! it begin again; apply counts the tries.

use std::sync::Arc;

use flotilla_cluster::Lease;
use flotilla_model::command::{AccountCommand, MAX_REASON, ScanBegin, ScanGiveUp, ScanWalked};
use flotilla_model::reply::{AccountDone, AccountRefusal};
use flotilla_model::{Account, AccountId, Amount, Done, LogIndex, NodeId, Refusal, Reply, Scan, State, Walked};
use flotilla_vfs::{GuardRef, Usage, VfsError};
use tokio::time::{Instant, timeout_at};

use super::Inner;
use super::fence::unfenced;

/// Begins of one scan. Disturbed ones are fewer (apply takes the larger count then); the others are those that an ended lease spoilt.
const TRIES: usize = 6;

/// How one try ended.
enum Tried {
    Done,
    /// Without a result; why, for people.
    Again(String),
    /// Something is in the way that goes by itself: the scan stays wanted.
    Later,
}

/// A wait for the nodes that use the account.
enum Heard {
    SoFar,
    /// It is over, or another one has begun.
    Over,
    Silent(String),
}

impl Inner {
    /// Scans an account in use, or says in the log why not.
    pub(super) async fn scan_in_use(
        self: &Arc<Self>,
        account: AccountId,
        lease: &Arc<Lease>,
        guard: &GuardRef,
    ) -> Result<(), VfsError> {
        let mut begun = 0;
        let mut reason = String::new();
        for _ in 0..TRIES {
            match self.try_in_use(account, lease, guard, &mut begun).await {
                Ok(Tried::Done) => return Ok(()),
                Ok(Tried::Again(why)) => reason = why,
                Ok(Tried::Later) => {
                    return Err(VfsError::Invalid("a dead epoch may still write, or another node scans"));
                }
                Err(error) => {
                    reason = error.to_string();
                    break;
                }
            }
        }
        tracing::warn!(account = account.0, reason, "scan of an account in use is given up");
        if begun > 0 {
            let mut end = reason.len().min(MAX_REASON);
            while !reason.is_char_boundary(end) {
                end -= 1;
            }
            reason.truncate(end);
            let give_up = ScanGiveUp { account, begun, reason };
            self.submit_plain("scan_give_up", AccountCommand::ScanGiveUp(give_up)).await;
        }
        Err(VfsError::Invalid("the scan was given up"))
    }

    async fn try_in_use(
        self: &Arc<Self>,
        account: AccountId,
        lease: &Arc<Lease>,
        guard: &GuardRef,
        begun: &mut LogIndex,
    ) -> Result<Tried, VfsError> {
        let state = self.cluster.state();
        let Some(row) = state.account(account) else { return Ok(Tried::Done) };
        let storage = self.storage_of(row)?;
        let dead = unfenced(row, |node, epoch| state.epoch_alive(node, epoch));
        for told in self.fence_all(row, &dead, guard).await? {
            told.await.map_err(|_| VfsError::Invalid("stopping"))?;
        }
        self.sweep(&state, row, guard).await?;
        let (node, epoch) = (lease.node(), lease.epoch());
        let begin = ScanBegin { account, node, epoch, force: row.forced, live: true };
        *begun = match self.reply_to("scan_begin", AccountCommand::ScanBegin(begin)).await {
            Some(Ok(Done::Account(AccountDone::ScanBegun { begun }))) => begun,
            Some(Err(Refusal::Account(AccountRefusal::MayStillWrite { .. } | AccountRefusal::ScanUnderWay { .. }))) => {
                return Ok(Tried::Later);
            }
            Some(Err(refusal)) => return Ok(Tried::Again(refusal.to_string())),
            _ => return Err(VfsError::Invalid("no quorum: the scan was not begun")),
        };
        match self.hear(account, *begun, |scan| scan.live.as_ref().is_some_and(|live| live.barrier.is_some())).await {
            Heard::SoFar => {}
            Heard::Over => return Ok(Tried::Again("another scan has begun".to_owned())),
            Heard::Silent(why) => return Ok(Tried::Again(why)),
        }
        let found = storage.scan_in_use(row.root.path(), account.0, guard).await?;
        let amount = |usage: Usage| Amount::of(usage.bytes, usage.files);
        let walked = Walked { found: amount(found.all), staged: amount(found.staged) };
        let walked = ScanWalked { account, begun: *begun, walked };
        match self.reply_to("scan_walked", AccountCommand::ScanWalked(walked)).await {
            Some(Ok(_)) => {}
            // Repeated without its answer, or over already.
            Some(Err(refusal)) if !self.is_walked(account, *begun) => return Ok(Tried::Again(refusal.to_string())),
            Some(Err(_)) => {}
            None => return Err(VfsError::Invalid("no quorum: the scan was not ended")),
        }
        match self.hear(account, *begun, |_| false).await {
            Heard::Silent(why) => Ok(Tried::Again(why)),
            Heard::SoFar | Heard::Over => Ok(self.result(account, *begun)),
        }
    }

    fn result(&self, account: AccountId, begun: LogIndex) -> Tried {
        let state = self.cluster.state();
        let Some(row) = state.account(account) else { return Tried::Done };
        if row.scan_committed <= begun {
            let why = "files were renamed or made shorter, or removed while they were open, each time it was scanned";
            return Tried::Again(why.to_owned());
        }
        tracing::info!(account = account.0, used = ?row.used, exact = !row.marked, "account scanned in use");
        Tried::Done
    }

    /// Whether the scan's walk is known to the log, or the scan is over.
    fn is_walked(&self, account: AccountId, begun: LogIndex) -> bool {
        let state = self.cluster.state();
        let live = |row: &Account| scan_of(row, begun).map(|scan| scan.live.is_some_and(|live| live.walked.is_some()));
        state.account(account).is_none_or(|row| live(row).unwrap_or(row.scan_committed > begun || row.scan_tries > 0))
    }

    async fn reply_to(&self, verb: &'static str, command: AccountCommand) -> Option<Reply> {
        self.submit_plain(verb, command).await.map(|submitted| submitted.reply)
    }

    /// Waits until a scan is so far. A node that it waits for and whose lease ends says nothing any more.
    async fn hear(&self, account: AccountId, begun: LogIndex, is_so_far: impl Fn(&Scan) -> bool) -> Heard {
        let until = Instant::now() + self.config.scan_answers;
        let mut applied = self.cluster.applied();
        loop {
            let state = self.cluster.state();
            // The begin itself may not be applied here yet.
            if state.applied_index() >= begun {
                let Some(scan) = state.account(account).and_then(|row| scan_of(row, begun)) else { return Heard::Over };
                if is_so_far(&scan) {
                    return Heard::SoFar;
                }
                let awaited = awaited(&scan);
                if let Some(node) = awaited.iter().find(|(node, epoch)| !state.epoch_alive(*node, *epoch)) {
                    return Heard::Silent(format!("the lease of node {} ended during the scan", node.0));
                }
            }
            if timeout_at(until, applied.changed()).await.is_err() {
                return Heard::Silent(self.who_is_silent(&state, account, begun));
            }
        }
    }

    fn who_is_silent(&self, state: &State, account: AccountId, begun: LogIndex) -> String {
        let scan = state.account(account).and_then(|row| scan_of(row, begun));
        let nodes: Vec<String> = scan.iter().flat_map(awaited).map(|(node, _): (NodeId, _)| node.to_string()).collect();
        let seconds = self.config.scan_answers.as_secs();
        format!("node {} uses the folder and did not answer within {seconds} s", nodes.join(", "))
    }
}

fn scan_of(row: &Account, begun: LogIndex) -> Option<Scan> {
    row.scan.clone().filter(|scan| scan.begun == begun)
}

fn awaited(scan: &Scan) -> Vec<(NodeId, flotilla_model::Epoch)> {
    scan.live.iter().flat_map(|live| live.awaited.iter().copied()).collect()
}
