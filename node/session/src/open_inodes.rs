//! The inodes that are open on this node. Two things hang on them: how large a file in place is charged to be, so that two handles
//! of one file do not pay twice for the same growth, nor once too little; and the credit of a removed file, which has to wait until
//! its last handle is closed, since until then its disk space is taken.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use flotilla_model::{AccountId, LogIndex};
use flotilla_vfs::{CreditClaim, InodeName};
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard};

use crate::ledger::{HeldCredit, Measuring};

/// A file that has handles here.
pub(crate) struct OpenInode {
    /// The largest logical size that has been charged for it. It falls only at a scan, which counts what is stored: a shrink in place
    /// earns no credit (6.3).
    charged: AtomicU64,
    /// The last scan of its account when that was known.
    known_at: AtomicU64,
    growing: AsyncMutex<()>,
    users: Mutex<Users>,
}

#[derive(Default)]
struct Users {
    handles: usize,
    /// It was removed or replaced; credited with the last handle.
    held: Option<HeldCredit>,
}

impl OpenInode {
    pub fn charged(&self) -> u64 {
        self.charged.load(Ordering::Acquire)
    }

    /// What an opener found at its handle: charged, by whoever made it so large.
    pub fn found(&self, size: u64) {
        self.charged.fetch_max(size, Ordering::AcqRel);
    }

    /// Whether what it was charged for is known from before this scan: some of it may not be counted any more.
    pub fn is_stale(&self, scan: LogIndex) -> bool {
        self.known_at.load(Ordering::Acquire) < scan
    }

    /// Growth of one file is charged by one writer at a time.
    pub async fn lock(&self) -> Growing<'_> {
        let held = self.growing.lock().await;
        Growing { inode: self, _held: held }
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that was charged for it is credited: also what it grew by after it was measured.
    fn credit(&self, held: HeldCredit) {
        held.release(self.charged(), self.known_at.load(Ordering::Acquire));
    }
}

pub(crate) struct Growing<'a> {
    inode: &'a OpenInode,
    _held: AsyncMutexGuard<'a, ()>,
}

impl Growing<'_> {
    pub fn charged(&self) -> u64 {
        self.inode.charged()
    }

    pub fn set(&self, charged: u64) {
        self.inode.found(charged);
    }

    /// A scan counts what it found: what is charged for from here on is what goes beyond the file's size as it is now.
    pub fn set_anew(&self, size: u64, scan: LogIndex) {
        self.inode.charged.store(size, Ordering::Release);
        self.inode.known_at.store(scan, Ordering::Release);
    }
}

/// One handle on an inode. Dropping the last one credits the file, if it was removed meanwhile.
pub(crate) struct OpenHere(Arc<OpenInode>);

impl OpenHere {
    pub fn inode(&self) -> &Arc<OpenInode> {
        &self.0
    }

    /// It was removed or replaced while it was open.
    pub fn is_removed(&self) -> bool {
        self.0.users().held.is_some()
    }
}

impl Drop for OpenHere {
    fn drop(&mut self) {
        let held = {
            let mut users = self.0.users();
            users.handles -= 1;
            if users.handles == 0 { users.held.take() } else { None }
        };
        if let Some(held) = held {
            self.0.credit(held);
        }
    }
}

/// The epoch keeps what a cut session still holds apart from what its successors do: no credit of one goes through the other.
type Key = (AccountId, u64, InodeName);

#[derive(Default)]
pub(crate) struct OpenInodes {
    open: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    by_name: HashMap<Key, Weak<OpenInode>>,
    /// Swept at this size: twice what was in use at the last sweep.
    sweep_at: usize,
}

impl OpenInodes {
    /// A handle was opened. Look at the file's link count after this: without one it was caught before anybody knew of the handle.
    pub fn enter(&self, account: AccountId, epoch: u64, inode: InodeName) -> OpenHere {
        let mut table = self.table();
        let known = table.by_name.get(&(account, epoch, inode)).and_then(Weak::upgrade);
        let known = known.unwrap_or_else(|| table.add((account, epoch, inode)));
        known.users().handles += 1;
        OpenHere(known)
    }

    /// Credits a caught file, now or once its last handle is closed.
    pub fn credit(&self, account: AccountId, epoch: u64, measuring: Measuring, claim: CreditClaim) {
        let known = self.table().by_name.get(&(account, epoch, claim.inode)).and_then(Weak::upgrade);
        let Some(inode) = known else { return measuring.credit(claim) };
        let mut users = inode.users();
        let held = measuring.hold(claim);
        if users.handles == 0 {
            drop(users);
            inode.credit(held);
        } else {
            // One inode is caught once: should it be twice, the earlier one marks the account.
            users.held = Some(held);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn add(&mut self, key: Key) -> Arc<OpenInode> {
        if self.by_name.len() >= self.sweep_at {
            self.by_name.retain(|_, inode| inode.strong_count() > 0);
            self.sweep_at = (2 * self.by_name.len()).max(64);
        }
        let inode = OpenInode {
            charged: AtomicU64::new(0),
            known_at: AtomicU64::new(0),
            growing: AsyncMutex::default(),
            users: Mutex::default(),
        };
        let inode = Arc::new(inode);
        self.by_name.insert(key, Arc::downgrade(&inode));
        inode
    }
}
