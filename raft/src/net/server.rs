//! Takes peer connections: TLS, the peer's name, the hello; what passes is served by tonic.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use flotilla_model::NodeId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::hello::Introduction;
use super::service::PeerService;
use super::tls::Tls;
use super::wire::peer_server::PeerServer as WireServer;

/// Connections that may be in TLS or hello at once.
const HANDSHAKES: usize = 64;
const HELLO_WITHIN: Duration = Duration::from_secs(3);
/// Messages: an append may carry 1,024 entries, an entry up to 512 KiB; openraft splits what is refused.
pub const MESSAGE_MAX: usize = 64 << 20;

pub struct PeerServer {
    pub tls: Tls,
    pub us: Arc<Introduction>,
    pub service: PeerService,
    pub stop: CancellationToken,
}

/// Which node is at the other end; every call finds it in its extensions.
#[derive(Clone, Copy, Debug)]
pub struct PeerNode(pub NodeId);

/// A connection that has passed TLS and hello.
pub struct PeerStream {
    stream: TlsStream<TcpStream>,
    peer: PeerNode,
}

impl PeerServer {
    /// Serves until stopped; open connections are closed then.
    pub async fn run(self, listener: TcpListener) {
        let (passed, connections) = mpsc::channel(HANDSHAKES);
        let accept = accept_all(listener, self.tls, self.us, passed, self.stop.clone());
        let service =
            WireServer::new(self.service).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX);
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

async fn accept_all(
    listener: TcpListener,
    tls: Tls,
    us: Arc<Introduction>,
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
        let (tls, us, passed, stop) = (tls.clone(), Arc::clone(&us), passed.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                result = greet(tcp, &tls, &us) => match result {
                    Ok(stream) => {
                        let _ = passed.send(Ok(stream)).await;
                    }
                    Err(error) => log_refusal(from, &error),
                },
            }
            drop(permit);
        });
    }
}

fn log_refusal(from: SocketAddr, error: &io::Error) {
    tracing::debug!(%from, %error, "peer connection not taken");
}

async fn greet(tcp: TcpStream, tls: &Tls, us: &Introduction) -> io::Result<PeerStream> {
    tcp.set_nodelay(true)?;
    let mut stream = tokio::time::timeout(HELLO_WITHIN, tls.acceptor.accept(tcp)).await??;
    let peer = tls.peer(stream.get_ref().1.peer_certificates()).map_err(io::Error::other)?;
    us.exchange(&mut stream, peer, HELLO_WITHIN).await?;
    Ok(PeerStream { stream, peer: PeerNode(peer) })
}

impl Connected for PeerStream {
    type ConnectInfo = PeerNode;

    fn connect_info(&self) -> PeerNode {
        self.peer
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
