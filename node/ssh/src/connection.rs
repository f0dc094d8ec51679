//! The life of one connection: PROXY header, handshake, session, end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flotilla_session::{Connection, EndReason, Gate};
use russh::server::RunningSession;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::config::ProxyProtocol;
use crate::handler::{Ended, Handler, Peer, Tried};
use crate::penalties::Offence;
use crate::proxy::{self, ProxyError, Said};
use crate::server::{DRAINED, Shared};
use crate::sock::{Sock, Wire};
use crate::startups::{Dropped, Place};

/// After the stream died russh has little to do; a callback that waits for storage is what may keep it.
const RUSSH_ENDS: Duration = Duration::from_secs(5);

/// After a drain began a connection that moves nothing for this long has no transfer: a client comes with its next file sooner, and
/// has read the answer to its last one.
const QUIET: Duration = Duration::from_secs(2);

/// Why a connection ended before its handshake.
#[derive(Debug, thiserror::Error)]
enum Closed {
    #[error(transparent)]
    Dropped(#[from] Dropped),
    #[error("too many connections")]
    Full,
    #[error("{0} is no trusted proxy")]
    Untrusted(SocketAddr),
    #[error("PROXY header: {0}")]
    Proxy(#[from] ProxyError),
    #[error("PROXY header took too long")]
    ProxyTimeout,
    #[error("client sent no identification in time")]
    NoIdentification,
    #[error("{0}")]
    Handshake(#[from] Ended),
    #[error("socket: {0}")]
    Socket(#[from] std::io::Error),
}

/// Counts an open connection until dropped.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: &Arc<Shared>) -> Result<Self, Closed> {
        let before = shared.open.fetch_add(1, Ordering::AcqRel);
        metrics::gauge!("flotilla_ssh_connections").increment(1.0);
        let open = Open(Arc::clone(shared));
        if before < shared.now.load().connections { Ok(open) } else { Err(Closed::Full) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
        metrics::gauge!("flotilla_ssh_connections").decrement(1.0);
    }
}

/// Decides at once whether the connection is dropped, before any work for it.
pub(crate) fn spawn(shared: &Arc<Shared>, tcp: TcpStream, peer: SocketAddr, proxy: ProxyProtocol) {
    let entered = Open::new(shared).and_then(|open| {
        let place = shared.startups.enter(rand::random_range(0..100))?;
        Ok((open, place))
    });
    let (open, place) = match entered {
        Ok(entered) => entered,
        Err(closed) => return log_closed(peer, &closed),
    };
    let shared_task = Arc::clone(shared);
    shared.tasks.spawn(async move {
        let served = serve(shared_task, tcp, peer, proxy, place).await;
        drop(open);
        if let Err(closed) = served {
            log_closed(peer, &closed);
        }
    });
}

fn log_closed(peer: SocketAddr, closed: &Closed) {
    metrics::counter!("flotilla_ssh_closed_before_login_total").increment(1);
    tracing::debug!(sender = "ssh", remote_addr = %peer, reason = %closed, "connection closed");
}

async fn serve(
    shared: Arc<Shared>,
    mut tcp: TcpStream,
    peer: SocketAddr,
    proxy: ProxyProtocol,
    mut place: Place,
) -> Result<(), Closed> {
    let deadline = Instant::now() + shared.now.load().login_grace;
    let own = (peer, tcp.local_addr()?);
    let (said, first) = match proxy {
        ProxyProtocol::Off => (Said::Own, Vec::new()),
        ProxyProtocol::Required => read_proxy(&shared, &mut tcp, peer).await?,
    };
    let (remote, local) = match said {
        Said::Proxied { source, destination } => (source, destination),
        Said::Own => own,
    };
    // Behind the address of a trusted proxy stand all its clients.
    let is_proxy = proxy == ProxyProtocol::Required && said == Said::Own;
    if !is_proxy && shared.penalties.refuses(remote.ip()) {
        return Err(Dropped::Penalised.into());
    }
    place.name_source(remote.ip())?;
    let connection = shared.core.connection(remote, local);
    let wire = Wire::new(tcp, Arc::clone(&connection), deadline);
    let sock = Sock::new(Arc::clone(&wire), first, shared.config.limits.handshake_bytes);
    let peer = Peer::new(shared, connection, wire, place, is_proxy);
    converse(peer, sock).await
}

async fn read_proxy(shared: &Shared, tcp: &mut TcpStream, peer: SocketAddr) -> Result<(Said, Vec<u8>), Closed> {
    if !shared.now.load().trusted_proxies.iter().any(|range| range.contains(peer.ip())) {
        return Err(Closed::Untrusted(peer));
    }
    let header = tokio::time::timeout(shared.config.limits.first_bytes, proxy::read(tcp)).await;
    Ok(header.map_err(|_| Closed::ProxyTimeout)??)
}

/// From our identification string to the last byte.
async fn converse(peer: Arc<Peer>, sock: Sock) -> Result<(), Closed> {
    let patience = peer.shared.config.limits.first_bytes.min(peer.shared.now.load().login_grace);
    let started = russh::server::run_stream(peer.shared.russh(), sock, Handler::new(Arc::clone(&peer)));
    let mut running = match tokio::time::timeout(patience, started).await {
        Ok(Ok(running)) => running,
        Ok(Err(error)) => {
            penalise(&peer, Some(Offence::NoAuth));
            return Err(Closed::Handshake(error));
        }
        Err(_) => {
            penalise(&peer, Some(Offence::Grace));
            return Err(Closed::NoIdentification);
        }
    };
    peer.set_handle(running.handle());
    let gate = Arc::clone(peer.connection.gate());
    let ended = tokio::select! {
        ended = &mut running => Some(ended),
        () = peer.wire.dead() => None,
        () = peer.shared.stop.cancelled() => { gate.cut(DRAINED); None }
        () = drained(&peer) => { gate.cut(DRAINED); None }
    };
    // Now, not when russh is through: the slot is waited for.
    finish(&peer);
    let ended = match ended {
        Some(ended) => ended,
        None => outlast(running, &gate).await,
    };
    note_end(&peer.connection, &peer.wire, &ended);
    penalise(&peer, offence(&peer, &ended));
    if peer.wire.is_logged_in() { Ok(()) } else { ended.map_err(Closed::Handshake) }
}

/// Returns when a drain has begun and nothing is transferred here: no file is open, nothing runs and no byte has moved for `QUIET`.
async fn drained(peer: &Peer) {
    peer.shared.drain.cancelled().await;
    let mut moved = peer.wire.moved();
    loop {
        tokio::time::sleep(QUIET).await;
        let open = peer.wire.session().map_or(0, |session| session.open_files());
        let now = peer.wire.moved();
        if open == 0 && peer.connection.jobs() == 0 && now == moved {
            return;
        }
        moved = now;
    }
}

/// What a connection that never logged in is blamed for.
fn offence(peer: &Peer, ended: &Result<(), Ended>) -> Option<Offence> {
    if peer.wire.is_logged_in() {
        return None;
    }
    match (peer.tried(), ended) {
        (_, Err(Ended::Panicked)) => Some(Offence::Crashed),
        (_, Err(Ended::Unavailable(_))) | (Tried::Blameless, _) => None,
        (Tried::WrongCredential, _) => Some(Offence::AuthFailed),
        (Tried::Nothing, _) if Instant::now() >= peer.wire.login_deadline() => Some(Offence::Grace),
        (Tried::Nothing, _) => Some(Offence::NoAuth),
    }
}

/// Connections that we ended ourselves at a drain say nothing about their source, and a proxy's own nothing about its clients.
fn penalise(peer: &Peer, offence: Option<Offence>) {
    if let Some(offence) = offence.filter(|_| !peer.is_proxy && !peer.shared.drain.is_cancelled()) {
        peer.shared.penalties.note(peer.connection.remote().ip(), offence);
    }
}

/// A callback that does not return is cut; one that does not even hear of the cut is left behind.
async fn outlast(mut running: RunningSession<Handler>, gate: &Gate) -> Result<(), Ended> {
    for _ in 0..2 {
        if let Ok(ended) = tokio::time::timeout(RUSSH_ENDS, &mut running).await {
            return ended;
        }
        gate.cut(EndReason::Other("connection closed".into()));
    }
    Err(Ended::Stuck)
}

fn finish(peer: &Peer) {
    if let Some(session) = peer.wire.session() {
        let reason = peer.connection.gate().ended().map_or("connection closed".to_owned(), ToString::to_string);
        session.finish(&reason);
    }
}

fn note_end(connection: &Connection, wire: &Wire, ended: &Result<(), Ended>) {
    let (received, sent) = wire.moved();
    metrics::counter!("flotilla_ssh_received_bytes_total").increment(received);
    metrics::counter!("flotilla_ssh_sent_bytes_total").increment(sent);
    if let Err(Ended::Panicked) = ended {
        metrics::counter!("flotilla_panics_total", "in" => "ssh_session").increment(1);
        tracing::error!(sender = "ssh", remote_addr = %connection.remote(), "a session panicked and was ended");
    }
}
