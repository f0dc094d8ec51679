//! How large files that are written in place are known, and charged, to be: one number per inode on this node, so that two handles
//! of one file do not pay twice for the same growth, nor once too little.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use flotilla_model::AccountId;
use flotilla_vfs::InodeName;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard};

/// The largest logical size that has been charged for a file. It never falls: a shrink in place earns no credit (6.3).
pub(crate) struct Growth {
    charged: AtomicU64,
    growing: AsyncMutex<()>,
}

impl Growth {
    pub fn charged(&self) -> u64 {
        self.charged.load(Ordering::Acquire)
    }

    /// Growth of one file is charged by one writer at a time.
    pub async fn lock(&self) -> Growing<'_> {
        let held = self.growing.lock().await;
        Growing { growth: self, _held: held }
    }
}

pub(crate) struct Growing<'a> {
    growth: &'a Growth,
    _held: MutexGuard<'a, ()>,
}

impl Growing<'_> {
    pub fn charged(&self) -> u64 {
        self.growth.charged()
    }

    pub fn set(&self, charged: u64) {
        self.growth.charged.fetch_max(charged, Ordering::AcqRel);
    }
}

type Key = (AccountId, InodeName);

/// The files that are open for writing in place on this node.
#[derive(Default)]
pub(crate) struct Growths {
    open: Mutex<HashMap<Key, Weak<Growth>>>,
}

impl Growths {
    /// The file's number; `size` is what its opener found.
    pub fn of(&self, account: AccountId, inode: InodeName, size: u64) -> Arc<Growth> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open.get(&(account, inode)).and_then(Weak::upgrade) {
            known.charged.fetch_max(size, Ordering::AcqRel);
            return known;
        }
        open.retain(|_, growth| growth.strong_count() > 0);
        let growth = Arc::new(Growth { charged: AtomicU64::new(size), growing: AsyncMutex::new(()) });
        open.insert((account, inode), Arc::downgrade(&growth));
        growth
    }
}
