//! One accepted connection before and after its login: its gate, its addresses, and whether its client still lives (2.5).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::gate::Gate;

/// A client silent for this long is probed.
pub const SILENCE: Duration = Duration::from_secs(2);
/// What a probed client has to answer.
pub const PROBE_ANSWER: Duration = Duration::from_secs(2);
/// A job that waits to send counts as silence once the send queue has not moved for this long.
pub const SEND_STALL: Duration = Duration::from_secs(8);

/// Whether a session's client can be believed to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Alive,
    /// Silent: ask it.
    Doubtful,
}

/// One per accepted connection; the front end and the session share it.
pub struct Connection {
    gate: Arc<Gate>,
    remote: SocketAddr,
    local: SocketAddr,
    protocol: &'static str,
    started: Instant,
    /// Milliseconds after `started`.
    received_at: AtomicU64,
    received: Notify,
    jobs: AtomicUsize,
    idle: Notify,
    probe: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Connection {
    pub fn new(remote: SocketAddr, local: SocketAddr) -> Arc<Self> {
        Self::with_protocol(remote, local, "SFTP")
    }

    pub fn with_protocol(remote: SocketAddr, local: SocketAddr, protocol: &'static str) -> Arc<Self> {
        Arc::new(Connection {
            gate: Gate::new(),
            remote,
            local,
            protocol,
            started: Instant::now(),
            received_at: AtomicU64::new(0),
            received: Notify::new(),
            jobs: AtomicUsize::new(0),
            idle: Notify::new(),
            probe: OnceLock::new(),
        })
    }

    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }
    pub fn local(&self) -> SocketAddr {
        self.local
    }
    pub fn protocol(&self) -> &'static str {
        self.protocol
    }

    /// Bytes came from the client. Called by the socket at each read that gave some: one atomic store.
    pub fn note_received(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.received_at.store(now, Ordering::Release);
        self.received.notify_waiters();
    }

    /// How long nothing came from the client.
    pub fn silence(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.received_at.load(Ordering::Acquire)))
    }

    /// Sends something that every live client answers (apis.md 2.5). Set once by the front end after the login.
    pub fn set_probe(&self, hook: Box<dyn Fn() + Send + Sync>) {
        let _ = self.probe.set(hook);
    }

    /// Counts a job as running until dropped: a session that works is not a ghost, and its slot is not given back before.
    pub fn job(self: &Arc<Self>) -> Job {
        self.jobs.fetch_add(1, Ordering::AcqRel);
        Job { connection: Arc::clone(self) }
    }

    pub fn jobs(&self) -> usize {
        self.jobs.load(Ordering::Acquire)
    }

    /// Returns when no job runs. No new one starts once the gate is cut: jobs check it.
    pub async fn jobs_done(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.jobs() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// The judgement without asking.
    pub fn life(&self) -> Life {
        let stalled = self.gate.stalled().is_some_and(|since| since >= SEND_STALL);
        if !stalled && (self.jobs() > 0 || self.silence() < SILENCE) { Life::Alive } else { Life::Doubtful }
    }

    /// A probe is held back behind data that does not move: until that has stalled for long nothing can be said of the client.
    pub fn is_unknown(&self) -> bool {
        self.gate.stalled().is_some_and(|since| since < SEND_STALL)
    }

    /// Asks a doubtful client and waits for any byte. `false`: nothing came in time.
    pub async fn ask(&self) -> bool {
        let received = self.received.notified();
        tokio::pin!(received);
        received.as_mut().enable();
        if let Some(probe) = self.probe.get() {
            probe();
        }
        tokio::time::timeout(PROBE_ANSWER, received).await.is_ok()
    }
}

/// A running job of a connection.
pub struct Job {
    connection: Arc<Connection>,
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.connection.jobs.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.connection.idle.notify_waiters();
        }
    }
}
