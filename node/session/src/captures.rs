//! Caught files whose measure is on its way, per account on this node: whoever lacks room waits for them before asking the log,
//! so that a remove just answered counts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flotilla_model::AccountId;
use tokio::sync::Notify;

/// A measure is a sync of a folder and an unlink; one that hangs longer is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Pending {
    count: AtomicUsize,
    done: Notify,
}

#[derive(Default)]
pub(crate) struct Captures {
    by_account: Mutex<HashMap<AccountId, Arc<Pending>>>,
}

/// One caught file that is being measured.
pub(crate) struct Capture {
    pending: Arc<Pending>,
}

impl Captures {
    pub fn begin(&self, account: AccountId) -> Capture {
        let mut accounts = self.by_account.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.retain(|_, pending| Arc::strong_count(pending) > 1);
        let pending = Arc::clone(accounts.entry(account).or_default());
        pending.count.fetch_add(1, Ordering::AcqRel);
        Capture { pending }
    }

    /// Returns when the account's caught files of this moment are measured.
    pub async fn measured(&self, account: AccountId) {
        let pending = self.by_account.lock().unwrap_or_else(PoisonError::into_inner).get(&account).cloned();
        if let Some(pending) = pending {
            let _ = tokio::time::timeout(LONGEST_WAIT, pending.none_left()).await;
        }
    }
}

impl Pending {
    async fn none_left(&self) {
        loop {
            let done = self.done.notified();
            tokio::pin!(done);
            done.as_mut().enable();
            if self.count.load(Ordering::Acquire) == 0 {
                return;
            }
            done.await;
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if self.pending.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.pending.done.notify_waiters();
        }
    }
}
