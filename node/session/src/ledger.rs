//! The node's side of the quota escrow (`PROTOCOL.md` 4 to 8.5): spends granted room locally, asks ahead of need, waits when room is short,
//! settles in batches, answers recalls, fences dead epochs, scans marked accounts.
//!
//! How a session uses it, in order:
//! ```text
//! ledger.reconcile(state, changed)                  from Agent::reconcile, every batch
//! let account = ledger.enter(..).await?;            once per session, after OpenSession was applied here, before the first file operation
//! account.before_change(&guard).await?;             before every operation that changes something on the storage (also raises nothing by itself)
//! let charge = account.charge();                    one per upload, per in-place handle, per symlink, link ...
//! if !charge.try_raise(bytes, 1) {                  the fast path: no await, one short lock
//!     charge.raise(bytes, 1, &guard).await?;        waits at most about 10 s; an error is final for a staged upload:
//! }                                                 discard the staged file at once, then charge.give_back()
//! charge.publish();                                 a staged upload: after it is published. In place: after each write that grew the file
//! charge.give_back();                               a staged upload that is unlinked: its room is free again
//! let measuring = account.measuring();              before a file is caught ...
//! measuring.measure_now();                          ... before it is measured ...
//! measuring.credit(claim);                          ... and after, if it may be credited; `hold` if it is open here; otherwise drop it (and `account.mark()` if over-counted)
//! let moving = account.moving();                    around a rename; `shrinking` where a file in place becomes shorter, `writing_in_place`
//!                                                   from before it is judged what a write there must be charged for: scans ask for all three
//! account.leave().await;                            after all jobs returned and all charges ended, before CloseSession
//! ```

mod account;
mod ask;
mod book;
mod charge;
mod credit;
mod dead;
mod fence;
mod first;
mod inspect;
mod progress;
mod scan;
mod scan_live;
mod scan_word;
mod settle;
#[doc(hidden)]
pub mod steps;
mod submit;
mod unseen;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flotilla_cluster::{Changed, Cluster, Lease};
use flotilla_model::{AccountId, Amount, Effect, LogIndex, SessionId, State, User, Username};
use flotilla_vfs::Storage;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use account::{AccountHandle, Room, RoomLeft};
use book::{Book, BookKey};
pub use charge::Charge;
pub use credit::{HeldCredit, Measuring};
pub use progress::Progress;
pub use unseen::{Moving, WritingInPlace};

/// Sizes and times of the ledger; the defaults are those of `PROTOCOL.md`.
#[derive(Clone, Debug)]
pub struct LedgerConfig {
    /// Settlements travel this often, or once so many bytes wait.
    pub settle_every: Duration,
    pub settle_bytes: i64,
    /// How long a request for room waits (5.3).
    pub wait_for_room: Duration,
    /// One attempt at a command; it is repeated until its outcome is known.
    pub submit_deadline: Duration,
    /// How often accounts that want a scan are looked at.
    pub scan_every: Duration,
    /// Whether this node scans by itself.
    pub scans: bool,
    /// How long the scan of an account in use waits for the nodes that use it; a node out of reach has lost its lease by then.
    pub scan_answers: Duration,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        LedgerConfig {
            settle_every: Duration::from_millis(500),
            settle_bytes: 64 << 20,
            wait_for_room: Duration::from_secs(10),
            submit_deadline: Duration::from_secs(5),
            scan_every: Duration::from_secs(1),
            scans: true,
            scan_answers: Duration::from_secs(15),
        }
    }
}

/// Why room was not given. Facts for the front end's table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuotaRefused {
    /// The text says whether room is taken, in use or out of reach, with numbers (5.4).
    #[error("{0}")]
    Exceeded(String),
    /// No quorum in time: nothing can be decided.
    #[error("quota cannot be asked for: {0}")]
    Unavailable(String),
    /// The session was cut or its lease is over.
    #[error("session ended")]
    Stopped,
}

/// Why a session cannot use its account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnterRefused {
    #[error("account {0} does not exist here")]
    NoAccount(AccountId),
    #[error("no session of this epoch is open on account {0}")]
    NoSession(AccountId),
    #[error("storage {0} is not configured on this node")]
    NoStorage(String),
    #[error("account cannot be looked at: {0}")]
    Unavailable(String),
}

/// Who enters: what `OpenSession` was applied with.
#[derive(Clone)]
pub struct Entering {
    pub session: SessionId,
    pub account: AccountId,
    pub username: Username,
    /// The user's creation index.
    pub incarnation: LogIndex,
    /// Whether the session goes on: one that is stuck has its waiting uploads count as the youngest (5.2).
    pub progress: Arc<Progress>,
}

/// The node's ledger: one per node, cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    cluster: Arc<dyn Cluster>,
    storages: BTreeMap<String, Arc<dyn Storage>>,
    config: LedgerConfig,
    runtime: tokio::runtime::Handle,
    books: Mutex<BTreeMap<BookKey, Arc<Book>>>,
    /// Accounts to look at again; the watcher takes them all.
    touched: Mutex<BTreeSet<AccountId>>,
    touch: Notify,
    /// Books that have something for the log, for the settler.
    due: Mutex<BTreeSet<BookKey>>,
    settle_now: Notify,
    /// What `reconcile` has seen last: all first grants in it are in their books.
    seen: Mutex<Arc<State>>,
    /// Books that hold a place for a session whose first grant they took, until it enters or is closed.
    reserved: Mutex<BTreeMap<SessionId, BookKey>>,
    /// Counts the ends of epochs applied here: a book fenced at an older count must look again (8.5).
    ends: AtomicU64,
    scans: scan::Candidates,
    stop: CancellationToken,
}

impl Ledger {
    /// Starts the ledger's tasks on the current runtime. `storages` by name, as configured on this node.
    pub fn start(
        cluster: Arc<dyn Cluster>,
        storages: BTreeMap<String, Arc<dyn Storage>>,
        config: LedgerConfig,
    ) -> Self {
        let inner = Arc::new(Inner {
            cluster,
            storages,
            config,
            runtime: tokio::runtime::Handle::current(),
            books: Mutex::default(),
            touched: Mutex::default(),
            touch: Notify::new(),
            due: Mutex::default(),
            settle_now: Notify::new(),
            seen: Mutex::default(),
            reserved: Mutex::default(),
            ends: AtomicU64::new(1),
            scans: scan::Candidates::default(),
            stop: CancellationToken::new(),
        });
        inner.runtime.spawn(watch::run(Arc::clone(&inner)));
        inner.runtime.spawn(settle::run(Arc::clone(&inner)));
        inner.runtime.spawn(scan::run(Arc::clone(&inner)));
        Ledger { inner }
    }

    /// Notes what to look at again. From `Agent::reconcile`: short, no await.
    pub fn reconcile(&self, state: &Arc<State>, changed: &Changed) {
        self.inner.take_first_grants(state, changed);
        match changed {
            Changed::Everything => {
                for book in self.inner.all_books() {
                    book.take_up_limit(state);
                }
                self.inner.everything_changed();
            }
            Changed::Rows(effects) => {
                for effect in effects {
                    match effect {
                        Effect::Account(account) => {
                            for book in self.inner.books_of(*account) {
                                book.take_up_limit(state);
                            }
                            self.inner.touch(*account);
                        }
                        Effect::Node(_) => self.inner.epoch_changed(),
                        _ => {}
                    }
                }
            }
        }
    }

    /// The room that a login asks for with its open: none where no grants are needed, or where enough of it lies here.
    pub fn wanted_at_open(&self, user: &User) -> Amount {
        self.inner.wanted_at_open(user)
    }

    /// A session begins to use its account. Its `OpenSession` has been applied here, under `lease`.
    /// At the very first use of a limited root its contents are counted, which may take long in a large tree.
    pub async fn enter(&self, who: Entering, lease: Arc<Lease>) -> Result<AccountHandle, EnterRefused> {
        account::enter(&self.inner, who, lease).await
    }

    /// Ends the ledger's tasks. Sessions have left before; what is unsettled stays charged until a scan.
    pub fn stop(&self) {
        self.inner.stop.cancel();
    }
}

impl Inner {
    fn touch(&self, account: AccountId) {
        self.touched.lock().expect("no panic while locked").insert(account);
        self.touch.notify_one();
        self.scans.note(account);
    }

    fn epoch_changed(&self) {
        self.ends.fetch_add(1, Ordering::AcqRel);
        self.touch_all();
        self.scans.note_all();
    }

    fn everything_changed(&self) {
        self.epoch_changed();
    }

    fn touch_all(&self) {
        let accounts: Vec<AccountId> = self.all_books().iter().map(|book| book.key.account).collect();
        self.touched.lock().expect("no panic while locked").extend(accounts);
        self.touch.notify_one();
    }

    fn all_books(&self) -> Vec<Arc<Book>> {
        self.books.lock().expect("no panic while locked").values().cloned().collect()
    }

    fn book(&self, key: BookKey) -> Option<Arc<Book>> {
        self.books.lock().expect("no panic while locked").get(&key).cloned()
    }

    fn books_of(&self, account: AccountId) -> Vec<Arc<Book>> {
        let first = BookKey { account, epoch: flotilla_model::Epoch(0), since: 0 };
        let books = self.books.lock().expect("no panic while locked");
        books.range(first..).take_while(|(key, _)| key.account == account).map(|(_, book)| Arc::clone(book)).collect()
    }

    /// The log has to hear of this book, soon; at once if much waits or somebody waits for it.
    fn book_is_due(&self, book: &Book, at_once: bool) {
        self.due.lock().expect("no panic while locked").insert(book.key);
        if at_once {
            self.settle_now.notify_one();
        }
    }
}
