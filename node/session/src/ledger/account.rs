//! A session's hold on its account: entering, charging, crediting, leaving.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use flotilla_cluster::Lease;
use flotilla_model::{Holder, Limits, LogIndex, State, Username};

use super::book::{Book, BookKey};
use super::{Charge, EnterRefused, Entering, Inner, Measuring, Progress};

/// What a user may still store, for `statvfs`; `None` where there is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomLeft {
    pub bytes: Option<Room>,
    pub files: Option<Room>,
}

/// A limit, and what is free of it for this node now: what others hold may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub limit: u64,
    pub left: u64,
}

/// A session's hold on its account. Leave it; a dropped one leaves by itself, without waiting for its settlement.
pub struct AccountHandle {
    pub(super) seat: Arc<Seat>,
    left: AtomicBool,
}

/// What charges share with their session's handle.
pub(super) struct Seat {
    pub inner: Arc<Inner>,
    pub book: Arc<Book>,
    pub username: Username,
    pub incarnation: LogIndex,
    limits: Mutex<Limits>,
    pub progress: Arc<Progress>,
    /// The count of epochs' ends at which everything was fenced.
    pub fenced_at: AtomicU64,
}

pub(super) async fn enter(inner: &Arc<Inner>, who: Entering, lease: Arc<Lease>) -> Result<AccountHandle, EnterRefused> {
    let state = inner.cluster.state();
    let row = state.account(who.account).ok_or(EnterRefused::NoAccount(who.account))?;
    let holder = row.holders.get(&(lease.node(), lease.epoch())).ok_or(EnterRefused::NoSession(who.account))?;
    let key = BookKey { account: who.account, epoch: lease.epoch(), since: holder.since };
    let members = u32::from(!inner.take_reserved(who.session, key));
    let book = inner.open_book(key, &lease, row.is_limited(), holder, members);
    let limits = user_limits(&state, &who.username, who.incarnation).unwrap_or(Limits::NONE);
    let seat = Seat {
        inner: Arc::clone(inner),
        book,
        username: who.username,
        incarnation: who.incarnation,
        limits: Mutex::new(limits),
        progress: who.progress,
        fenced_at: AtomicU64::new(0),
    };
    let handle = AccountHandle { seat: Arc::new(seat), left: AtomicBool::new(false) };
    inner.touch(who.account);
    if !row.inspected {
        inner.inspect(row).await?;
    }
    Ok(handle)
}

fn user_limits(state: &State, username: &Username, incarnation: LogIndex) -> Option<Limits> {
    state.user(username).filter(|user| user.incarnation == incarnation).map(|user| user.limits())
}

impl Inner {
    /// The book of a holder row, made if it is not there, with so many sessions more.
    pub(super) fn open_book(
        &self,
        key: BookKey,
        lease: &Arc<Lease>,
        limited: bool,
        holder: &Holder,
        members: u32,
    ) -> Arc<Book> {
        let mut books = self.books.lock().expect("no panic while locked");
        let open = || {
            let book = Book::new(key, Arc::clone(lease), limited, holder.confirmed);
            // The last settlement is a total of the row's whole life (7.1), should an earlier book of it have settled and be forgotten.
            book.lock().total = holder.settled_total;
            book
        };
        let book = books.entry(key).or_insert_with(open);
        book.lock().members += members;
        Arc::clone(book)
    }
}

impl Seat {
    pub fn limits(&self) -> Limits {
        *self.limits.lock().expect("no panic while locked")
    }

    /// Takes up what was added to the user's limits since.
    pub fn refresh_limits(&self) -> Limits {
        let now = user_limits(&self.inner.cluster.state(), &self.username, self.incarnation);
        let mut limits = self.limits.lock().expect("no panic while locked");
        *limits = now.unwrap_or(*limits);
        *limits
    }

    /// Something is over-counted that cannot be credited: a scan is wanted.
    pub fn mark(&self) {
        let mut pages = self.book.lock();
        pages.mark = true;
        pages.changed_for_the_log();
        drop(pages);
        self.due();
    }

    /// Tells the settler that something is due.
    pub fn due(&self) {
        let (much, short) = {
            let pages = self.book.lock();
            (pages.unsettled_bytes() >= self.inner.config.settle_bytes, pages.short)
        };
        self.inner.book_is_due(&self.book, much);
        if short {
            self.inner.touch(self.book.key.account);
        }
    }
}

impl AccountHandle {
    /// A charge for one upload, or for an in-place handle.
    pub fn charge(&self) -> Charge {
        Charge::new(Arc::clone(&self.seat))
    }

    /// Call before a file is caught.
    pub fn measuring(&self) -> Measuring {
        Measuring::begin(Arc::clone(&self.seat))
    }

    /// Something is over-counted that cannot be credited: a scan is wanted.
    pub fn mark(&self) {
        self.seat.mark();
    }

    /// Bytes of removed files that are open here still: not free before they are closed.
    pub fn held_bytes(&self) -> i64 {
        self.seat.book.lock().held.values().map(|held| held.amount.bytes).sum()
    }

    /// What is left for this user, as far as this node knows.
    pub fn room_left(&self) -> RoomLeft {
        let state = self.seat.inner.cluster.state();
        let limits = self.seat.refresh_limits();
        let Some(row) = state.account(self.seat.book.key.account) else {
            return RoomLeft { bytes: None, files: None };
        };
        let unspent = self.seat.book.lock().spendable(limits);
        let left = (limits.room(row.taken()) + unspent).at_least_zero();
        let room =
            |limit: i64, left: i64| (limit != i64::MAX).then_some(Room { limit: limit as u64, left: left as u64 });
        RoomLeft { bytes: room(limits.bytes, left.bytes), files: room(limits.files, left.files) }
    }

    /// Ends the session's use: all charges have ended and all jobs returned. Returns once the log has its deltas and credits,
    /// or its epoch is over. Then comes `CloseSession`.
    pub async fn leave(self) {
        self.left.store(true, Ordering::Release);
        let seat = Arc::clone(&self.seat);
        drop(self);
        let goal = {
            let mut pages = seat.book.lock();
            pages.members -= 1;
            pages.changes
        };
        let book = &seat.book;
        loop {
            let heard = book.changed.notified();
            {
                let pages = book.lock();
                let last_is_done = !pages.is_dirty() && pages.in_flight == 0 && !pages.is_asking();
                if pages.told >= goal && (pages.members > 0 || last_is_done) {
                    break;
                }
            }
            if !seat.inner.cluster.state().epoch_alive(book.lease.node(), book.lease.epoch()) {
                break;
            }
            seat.inner.book_is_due(book, true);
            let _ = tokio::time::timeout(seat.inner.config.settle_every, heard).await;
        }
        seat.inner.touch(book.key.account);
    }
}

impl Drop for AccountHandle {
    fn drop(&mut self) {
        if !self.left.load(Ordering::Acquire) {
            self.seat.book.lock().members -= 1;
            self.seat.inner.book_is_due(&self.seat.book, true);
            self.seat.inner.touch(self.seat.book.key.account);
        }
    }
}
