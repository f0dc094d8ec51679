//! The gate of one connection: every write to its socket and every system call on behalf of its client passes here
//! (`PROTOCOL.md` 2.3, 3.2). A cut closes it for good.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use flotilla_cluster::Lease;
use flotilla_model::CutReason;
use flotilla_vfs::{Guard, Stopped};
use tokio::time::Instant;

/// Tasks that wait on one connection: its reader, its writer, and what else asked to hear of the cut.
const MAX_WAKERS: usize = 8;

/// Why a connection ended from our side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndReason {
    #[error("{}", cut_text(*.0))]
    Cut(CutReason),
    #[error("this node lost its lease in the cluster")]
    LeaseLost,
    #[error("the client was silent while another login needed the session")]
    Silent,
    #[error("idle for too long")]
    Idle,
    #[error("this node is shutting down")]
    Drained,
    #[error("{0}")]
    Other(String),
}

fn cut_text(reason: CutReason) -> &'static str {
    match reason {
        CutReason::UserDisabled => "the user was disabled",
        CutReason::UserDeleted => "the user was deleted",
        CutReason::UserChanged => "the user's rights or limits changed",
        CutReason::CredentialChanged => "the user's credentials changed",
        CutReason::SessionLimitLowered => "the session limit was lowered",
        CutReason::QuotaLowered => "the quota was lowered",
        CutReason::Killed => "an administrator ended the session",
        CutReason::EpochEnded => "this node lost its lease in the cluster",
    }
}

type AbortHook = Box<dyn Fn() + Send + Sync>;

/// How the socket's writes went: when one last moved bytes, and since when they would block.
#[derive(Clone, Copy)]
struct Sending {
    progressed: Instant,
    blocked: bool,
}

/// One per accepted connection. No lease before the session is admitted: the handshake passes.
pub struct Gate {
    lease: OnceLock<Arc<Lease>>,
    ended: OnceLock<EndReason>,
    /// Held over each write's system call, and by a cut while it aborts the connection.
    sending: Mutex<Sending>,
    abort: OnceLock<AbortHook>,
    wakers: Mutex<Vec<Waker>>,
    changed: tokio::sync::Notify,
}

/// A panic while the lock was held leaves nothing half done: there is no state behind it that could be.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Gate {
    fn default() -> Self {
        Gate {
            lease: OnceLock::new(),
            ended: OnceLock::new(),
            sending: Mutex::new(Sending { progressed: Instant::now(), blocked: false }),
            abort: OnceLock::new(),
            wakers: Mutex::new(Vec::new()),
            changed: tokio::sync::Notify::new(),
        }
    }
}

impl Gate {
    pub fn new() -> Arc<Self> {
        Arc::new(Gate::default())
    }

    /// What resets the connection: `connect(AF_UNSPEC)` and `SO_LINGER` 0. Called once, by a cut, under the lock of the write;
    /// at once if the gate is cut already. A second hook is ignored.
    pub fn set_abort(&self, hook: AbortHook) {
        let _ = self.abort.set(hook);
        if self.ended.get().is_some() {
            self.abort_now();
        }
    }

    /// The lease under which the session was admitted; checked from here on.
    pub(crate) fn set_lease(&self, lease: Arc<Lease>) {
        let _ = self.lease.set(lease);
    }

    pub fn lease(&self) -> Option<&Arc<Lease>> {
        self.lease.get()
    }

    /// The first check: directly before each system call or backend request.
    pub fn check(&self) -> Result<(), EndReason> {
        if let Some(reason) = self.ended.get() {
            return Err(reason.clone());
        }
        #[cfg(feature = "planted-bugs")]
        if flotilla_model::planted::is("lease-timer-only") {
            return Ok(());
        }
        match self.lease.get().map(|lease| lease.check()) {
            Some(Err(_)) => Err(EndReason::LeaseLost),
            _ => Ok(()),
        }
    }

    pub fn is_open(&self) -> bool {
        self.check().is_ok()
    }

    /// Why the gate was cut, if it was.
    pub fn ended(&self) -> Option<&EndReason> {
        self.ended.get()
    }

    /// The second check, the last point before the kernel: runs a non-blocking write under the lock that a cut takes.
    /// Once `cut` has returned no write starts. `ConnectionAborted` when the gate is closed.
    pub fn write(&self, syscall: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
        let mut sending = lock(&self.sending);
        if let Err(reason) = self.check() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason.to_string()));
        }
        let written = syscall();
        match &written {
            Ok(0) => {}
            Ok(_) => *sending = Sending { progressed: Instant::now(), blocked: false },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !sending.blocked => {
                *sending = Sending { progressed: Instant::now(), blocked: true };
            }
            Err(_) => {}
        }
        written
    }

    /// How long the send queue has not moved although there is something to send; `None` when nothing waits.
    pub fn stalled(&self) -> Option<Duration> {
        let sending = *lock(&self.sending);
        sending.blocked.then(|| sending.progressed.elapsed())
    }

    /// Closes the gate for good and resets the connection. The first reason stands.
    pub fn cut(&self, reason: EndReason) {
        #[cfg(feature = "planted-bugs")]
        if flotilla_model::planted::is("no-revoke") && matches!(reason, EndReason::Cut(_)) {
            return;
        }
        {
            // Whoever sees the end waits here until the connection is reset: nobody closes it in order before that.
            let _no_write_runs = lock(&self.sending);
            if self.ended.set(reason).is_err() {
                return;
            }
            if let Some(abort) = self.abort.get() {
                abort();
            }
        }
        for waker in lock(&self.wakers).drain(..) {
            waker.wake();
        }
        self.changed.notify_waiters();
    }

    /// Returns once a cut that has begun has reset the connection; before its descriptor is closed.
    pub fn settle(&self) {
        drop(lock(&self.sending));
    }

    fn abort_now(&self) {
        let _no_write_runs = lock(&self.sending);
        if let Some(abort) = self.abort.get() {
            abort();
        }
    }

    /// Wakes this task when the gate is cut; a socket's `poll_*` calls it before it returns `Pending`.
    pub fn register(&self, waker: &Waker) {
        if self.ended.get().is_some() {
            return waker.wake_by_ref();
        }
        let mut wakers = lock(&self.wakers);
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            if wakers.len() == MAX_WAKERS {
                wakers.remove(0).wake();
            }
            wakers.push(waker.clone());
        }
        drop(wakers);
        if self.ended.get().is_some() {
            waker.wake_by_ref();
        }
    }

    /// Returns when the gate is cut.
    pub async fn closed(&self) -> EndReason {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(reason) = self.ended.get() {
                return reason.clone();
            }
            changed.await;
        }
    }
}

impl Guard for Gate {
    fn check(&self) -> Result<(), Stopped> {
        #[cfg(feature = "planted-bugs")]
        if flotilla_model::planted::is("check-at-dispatch") {
            return if self.ended.get().is_some() { Err(Stopped) } else { Ok(()) };
        }
        Gate::check(self).map_err(|_| Stopped)
    }
}
