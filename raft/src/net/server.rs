//! Takes peer connections: TLS, the peer's name, the hello; what passes is served by tonic.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use flotilla_model::NodeId;
use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::Connected;

use super::hello::Introduction;
use super::join::{self, DeskSlot};
use super::service::PeerService;
use super::tls::{Shown, Tls};
use super::wire::peer_server::PeerServer as WireServer;
use crate::roster::Rosters;

/// Connections that may be in TLS or hello at once.
const HANDSHAKES: usize = 64;
/// Machines that may be asking to join at once.
const JOINS: usize = 4;
const HELLO_WITHIN: Duration = Duration::from_secs(3);
/// Messages: an append may carry 1,024 entries, an entry up to 512 KiB; openraft splits what is refused.
pub const MESSAGE_MAX: usize = 64 << 20;

pub struct PeerServer {
    pub tls: Tls,
    pub us: Arc<Introduction>,
    pub service: PeerService,
    pub desk: DeskSlot,
    pub stop: CancellationToken,
}

/// Which node is at the other end; every call finds it in its extensions.
#[derive(Clone, Debug)]
pub struct PeerNode {
    pub shown: Shown,
    /// On whose word it was let in, if it was not known as a member.
    pub vouched_by: Option<NodeId>,
}

impl PeerNode {
    fn still_admitted(&self, rosters: &Rosters) -> Result<(), String> {
        let Shown { node, public_key } = &self.shown;
        let admitted = rosters.still_admits(*node, public_key, self.vouched_by);
        admitted.then_some(()).ok_or_else(|| format!("node {node} is no member any more"))
    }
}

/// A connection that has passed TLS and hello. It ends with the peer's membership.
pub struct PeerStream {
    stream: TlsStream<TcpStream>,
    peer: PeerNode,
    rosters: Arc<Rosters>,
    /// Wakes the reader when the peer's membership ends: nothing else may move on the connection by then.
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl PeerStream {
    fn new(stream: TlsStream<TcpStream>, peer: PeerNode, rosters: Arc<Rosters>) -> PeerStream {
        let ended = Box::pin(ended(peer.clone(), Arc::clone(&rosters)).fuse());
        PeerStream { stream, peer, rosters, ended }
    }

    fn admitted(&self) -> io::Result<()> {
        self.peer.still_admitted(&self.rosters).map_err(|why| io::Error::new(io::ErrorKind::PermissionDenied, why))
    }
}

/// Returns when the peer is no member any more.
async fn ended(peer: PeerNode, rosters: Arc<Rosters>) {
    let mut changes = rosters.changes();
    while peer.still_admitted(&rosters).is_ok() {
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Membership is checked for each request too: one may have been read before its sender was removed.
fn members_only(rosters: Arc<Rosters>) -> impl Interceptor + Clone {
    move |request: tonic::Request<()>| match request.extensions().get::<PeerNode>() {
        Some(peer) => peer.still_admitted(&rosters).map(|()| request).map_err(Status::permission_denied),
        None => Err(Status::unauthenticated("no peer certificate")),
    }
}

impl PeerServer {
    /// Serves until stopped; open connections are closed then.
    pub async fn run(self, listener: TcpListener) {
        let (passed, connections) = mpsc::channel(HANDSHAKES);
        let members_only = members_only(Arc::clone(&self.us.rosters));
        let greeter = Arc::new(Greeter { tls: self.tls, us: self.us, desk: self.desk, joins: Semaphore::new(JOINS) });
        let accept = accept_all(listener, greeter, passed, self.stop.clone());
        let service =
            WireServer::new(self.service).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX);
        let service = InterceptedService::new(service, members_only);
        let serve = tonic::transport::Server::builder()
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20)
            .http2_keepalive_interval(Some(Duration::from_secs(5)))
            .http2_keepalive_timeout(Some(Duration::from_secs(5)))
            .add_service(service)
            .serve_with_incoming(ReceiverStream::new(connections));
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = accept => {}
            result = serve => if let Err(error) = result {
                tracing::error!(%error, "peer listener ended");
            },
        }
    }
}

/// What the first bytes of a connection are judged by.
struct Greeter {
    tls: Tls,
    us: Arc<Introduction>,
    desk: DeskSlot,
    joins: Semaphore,
}

async fn accept_all(
    listener: TcpListener,
    greeter: Arc<Greeter>,
    passed: mpsc::Sender<io::Result<PeerStream>>,
    stop: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let (tcp, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting a peer failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (greeter, passed, stop) = (Arc::clone(&greeter), passed.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                result = greeter.greet(tcp, permit) => match result {
                    Ok(Some(stream)) => {
                        let _ = passed.send(Ok(stream)).await;
                    }
                    Ok(None) => {}
                    Err(error) => log_refusal(from, &error),
                },
            }
        });
    }
}

fn log_refusal(from: SocketAddr, error: &io::Error) {
    tracing::debug!(%from, %error, "peer connection not taken");
}

impl Greeter {
    /// A peer's stream; nothing if it was a machine that joins, which is served and gone.
    async fn greet(&self, tcp: TcpStream, permit: OwnedSemaphorePermit) -> io::Result<Option<PeerStream>> {
        tcp.set_nodelay(true)?;
        let mut stream = timeout(HELLO_WITHIN, self.tls.acceptor.accept(tcp)).await??;
        let Some(certificates) = stream.get_ref().1.peer_certificates() else {
            // Joins wait for a quorum: they must not hold the places of handshakes.
            drop(permit);
            let full = || io::Error::other("too many machines join at once");
            let _join = self.joins.try_acquire().map_err(|_| full())?;
            join::serve(&mut stream, &self.desk).await?;
            return Ok(None);
        };
        let peer = self.tls.peer(Some(certificates)).map_err(io::Error::other)?;
        let vouched_by = self.us.exchange(&mut stream, &peer, HELLO_WITHIN).await?;
        let peer = PeerNode { shown: peer, vouched_by };
        Ok(Some(PeerStream::new(stream, peer, Arc::clone(&self.us.rosters))))
    }
}

impl Connected for PeerStream {
    type ConnectInfo = PeerNode;

    fn connect_info(&self) -> PeerNode {
        self.peer.clone()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.admitted()?;
        let _woken_at_the_end = self.ended.as_mut().poll(cx);
        self.admitted()?;
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.admitted()?;
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
