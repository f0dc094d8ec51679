//! What the socket shares with the connection's other parts: the descriptor, the gate, and what has become of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use flotilla_session::{Bandwidth, Connection, Gate, Session};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// KB/s count 1000 bytes.
const KB: u64 = 1000;

pub(crate) struct Wire {
    tcp: Arc<TcpStream>,
    connection: Arc<Connection>,
    login_deadline: Instant,
    session: OnceLock<Arc<Session>>,
    says_goodbye: AtomicBool,
    dead: CancellationToken,
    received: AtomicU64,
    sent: AtomicU64,
}

impl Wire {
    /// Arms the gate: a cut resets the connection, whoever else holds the descriptor (`apis.md` 1).
    pub(crate) fn new(tcp: TcpStream, connection: Arc<Connection>, login_deadline: Instant) -> Arc<Self> {
        let tcp = Arc::new(tcp);
        let weak = Arc::downgrade(&tcp);
        connection.gate().set_abort(Box::new(move || {
            if let Some(tcp) = weak.upgrade() {
                reset(&tcp);
            }
        }));
        Arc::new(Wire {
            tcp,
            connection,
            login_deadline,
            session: OnceLock::new(),
            says_goodbye: AtomicBool::new(false),
            dead: CancellationToken::new(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        })
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }
    pub(crate) fn gate(&self) -> &Arc<Gate> {
        self.connection.gate()
    }
    pub(crate) fn login_deadline(&self) -> Instant {
        self.login_deadline
    }

    /// The login was accepted: its deadline and byte budget end, bandwidth limits begin.
    pub(crate) fn log_in(&self, session: Arc<Session>) {
        let _ = self.session.set(session);
    }

    pub(crate) fn is_logged_in(&self) -> bool {
        self.session.get().is_some()
    }

    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        self.session.get()
    }

    /// Bytes per second upwards and downwards, 0 = no limit.
    pub(super) fn rates(&self) -> (u64, u64) {
        let Bandwidth { upload, download } =
            self.session.get().map_or(Bandwidth::default(), |session| session.bandwidth());
        (upload.saturating_mul(KB), download.saturating_mul(KB))
    }

    pub(super) fn note_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.connection.note_received();
    }

    pub(super) fn note_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes received and sent, with all of SSH's own.
    pub(crate) fn moved(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }

    /// We end the connection with a text: the client gets a moment to read it.
    pub(crate) fn say_goodbye(&self) {
        self.says_goodbye.store(true, Ordering::Release);
    }

    pub(super) fn says_goodbye(&self) -> bool {
        self.says_goodbye.load(Ordering::Acquire)
    }

    /// Nothing will be sent any more.
    pub(super) fn note_dead(&self) {
        self.dead.cancel();
    }

    /// Returns when the stream is dead: shut down or dropped.
    pub(crate) async fn dead(&self) {
        self.dead.cancelled().await;
    }

    /// Returns when the client has closed its side. For callbacks, while nobody reads: dead waiters must not win slots.
    pub(crate) async fn client_left(&self) {
        // Readiness for priority data covers a closed reading side too, without being satisfied by ordinary data.
        loop {
            match self.tcp.ready(Interest::PRIORITY).await {
                Ok(ready) if !ready.is_read_closed() => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
                _ => return,
            }
        }
    }
}

impl Drop for Wire {
    /// The descriptor goes after a cut has reset it, not before.
    fn drop(&mut self) {
        self.gate().settle();
    }
}

/// Throws away what the kernel holds and sends RST, now and at the drop.
fn reset(tcp: &TcpStream) {
    let lingering = tcp.set_zero_linger();
    let reset = rustix::net::connect_unspec(tcp);
    if let Err(error) = reset {
        tracing::warn!(%error, lingering = lingering.is_err(), "connection could not be reset");
    }
}
