//! The accept loop of an HTTP listener: bounds on connections, handshakes, first bytes, headers and streams.

use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::tls::{self, CertificateName, Tls};

/// Connections at a time; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 1024;
/// For the TLS handshake, and again for the first bytes.
const FIRST_BYTES: Duration = Duration::from_secs(10);
/// For the head of a request; also how long an idle HTTP/1 connection is kept.
const HEADERS: Duration = Duration::from_secs(30);
const HEADER_COUNT: usize = 100;
const HEADER_BYTES: usize = 32 * 1024;
/// HTTP/2: calls at a time on one connection, pings to a silent peer, resets before the connection is closed.
const STREAMS: u32 = 100;
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_WITHIN: Duration = Duration::from_secs(20);
const RESETS: usize = 100;
/// A pause when the system has no descriptor or memory left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(200);

/// A bound listener and what answers on it.
pub(super) struct Site {
    pub listener: TcpListener,
    pub router: Router,
    pub tls: Option<Arc<Tls>>,
}

impl Site {
    /// Accepts until the stop, then lets the requests that run come to their end.
    pub(super) async fn serve(self, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = next(&self.listener, &places) => accepted,
            };
            let Some((tcp, peer, place)) = accepted else { continue };
            let (router, tls) = (self.router.clone(), self.tls.clone());
            let stop = stop.clone();
            tokio::spawn(async move {
                let _place = place;
                if let Err(error) = converse(tcp, peer, router, tls, &stop).await {
                    tracing::debug!(sender = "http", remote_addr = %peer, error, "connection ended");
                }
            });
        }
        drop(self.listener);
        // Every connection holds a place until it is through.
        let _ = places.acquire_many(CONNECTIONS as u32).await;
    }
}

type Place = tokio::sync::OwnedSemaphorePermit;

async fn next(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<(TcpStream, SocketAddr, Place)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((tcp, peer)) => Some((tcp, peer, place)),
        Err(error) => {
            tracing::warn!(sender = "http", %error, "connections cannot be accepted");
            tokio::time::sleep(EXHAUSTED_PAUSE).await;
            None
        }
    }
}

async fn converse(
    tcp: TcpStream,
    peer: SocketAddr,
    router: Router,
    tls: Option<Arc<Tls>>,
    stop: &CancellationToken,
) -> Result<(), String> {
    let _ = tcp.set_nodelay(true);
    match tls {
        None => speak(tcp, peer, None, router, stop).await,
        Some(tls) => {
            let shaken = tokio::time::timeout(FIRST_BYTES, tls.acceptor().accept(tcp)).await;
            let stream = shaken.map_err(|_| "TLS handshake took too long")?.map_err(|e| format!("TLS: {e}"))?;
            let name = tls::name_of(stream.get_ref().1.peer_certificates());
            speak(stream, peer, name, router, stop).await
        }
    }
}

/// Drives a connection to its end; after the stop it takes no further requests. The two versions share no trait for this.
macro_rules! finish {
    ($connection:expr, $stop:expr) => {{
        let mut connection = std::pin::pin!($connection);
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = $stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    }};
}

/// HTTP/1 or HTTP/2, by the first bytes: with prior knowledge HTTP/2 begins with `PRI`, which is no method.
async fn speak(
    mut io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    name: Option<CertificateName>,
    router: Router,
    stop: &CancellationToken,
) -> Result<(), String> {
    let mut first = [0; 3];
    tokio::select! {
        // Nothing was asked yet, so nothing is lost.
        () = stop.cancelled() => return Ok(()),
        read = tokio::time::timeout(FIRST_BYTES, io.read_exact(&mut first)) => {
            read.map_err(|_| "no request in time")?.map_err(|e| e.to_string())?;
        }
    }
    let (reader, writer) = tokio::io::split(io);
    let io = TokioIo::new(tokio::io::join(Cursor::new(first).chain(reader), writer));
    let router = router.layer(axum::Extension(ConnectInfo(peer)));
    let router = match name {
        Some(name) => router.layer(axum::Extension(name)),
        None => router,
    };
    let service = TowerToHyperService::new(router);
    let served = if &first == b"PRI" {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEADER_BYTES as u32)
            .max_pending_accept_reset_streams(RESETS)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_WITHIN);
        finish!(http.serve_connection(io, service), stop)
    } else {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_headers(HEADER_COUNT).max_buf_size(HEADER_BYTES);
        finish!(http.serve_connection(io, service), stop)
    };
    served.map_err(|error| error.to_string())
}
