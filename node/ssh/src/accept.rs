//! The accept loop of one listener: it outlives a lack of descriptors and stops at a drain.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::ProxyProtocol;
use crate::connection;
use crate::listener::{BACKLOG, tune};
use crate::server::Shared;

/// A pause when the system has no descriptor or memory left: connections wait in the backlog meanwhile.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(200);

/// A lack that lasts is told of so often.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// Accepts until the drain begins, and then what waits already; closing the listener refuses new connections at once.
pub(crate) async fn run(shared: Arc<Shared>, listener: TcpListener, proxy: ProxyProtocol, drain: CancellationToken) {
    let mut told: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.cancelled() => return take_the_rest(&shared, listener, proxy),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, peer)) => {
                tune(&tcp);
                connection::spawn(&shared, tcp, peer, proxy);
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                if told.is_none_or(|at| at.elapsed() > TELL_AGAIN) {
                    told = Some(Instant::now());
                    tracing::error!(sender = "ssh", %error, advice = advice(&error), "connections cannot be accepted");
                }
                metrics::counter!("flotilla_ssh_accept_errors_total").increment(1);
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

/// Connections that the kernel has taken for us already: closing the listener would reset them, unanswered.
fn take_the_rest(shared: &Arc<Shared>, listener: TcpListener, proxy: ProxyProtocol) {
    let Ok(listener) = listener.into_std() else { return };
    for _ in 0..BACKLOG {
        let (tcp, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if is_the_clients(&error) => continue,
            Err(_) => return,
        };
        if let Ok(tcp) = tcp.set_nonblocking(true).and_then(|()| TcpStream::from_std(tcp)) {
            tune(&tcp);
            connection::spawn(shared, tcp, peer, proxy);
        }
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(raw) if raw == rustix::io::Errno::MFILE.raw_os_error() => "raise the limit of open files (LimitNOFILE)",
        Some(raw) if raw == rustix::io::Errno::NFILE.raw_os_error() => "raise fs.file-max of this machine",
        _ => "this machine lacks memory",
    }
}

/// The connection died in the backlog: no fault of ours, and no reason to pause.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
