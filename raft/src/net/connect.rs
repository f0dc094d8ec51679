//! Connects to a peer: TCP, TLS with the peer's name, our hello. Handed to tonic as a connector.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use flotilla_model::NodeId;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use super::hello::Introduction;
use super::tls::Tls;

/// Windows of HTTP/2: a snapshot chunk or a large append must not wait for credit.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
const KEEPALIVE: Duration = Duration::from_secs(5);

/// A channel to the peer that connects when it is first used and again whenever the connection broke.
pub fn channel(tls: &Tls, us: &Arc<Introduction>, node: NodeId, address: &str, within: Duration) -> Channel {
    let (tls, us, address) = (tls.clone(), Arc::clone(us), address.to_owned());
    // The authority is not used to connect: the connector is bound to its address.
    Endpoint::from_static("http://peer.flotilla.invalid")
        .connect_timeout(within)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .connect_with_connector_lazy(tower::service_fn(move |_| {
            let (tls, us, address) = (tls.clone(), Arc::clone(&us), address.clone());
            async move { connect(&tls, &us, node, &address, within).await.map(TokioIo::new) }
        }))
}

/// Whether the node answers there, as a member, to this one: a failure inside says why somebody answers, but not so. The
/// failure outside is that nobody takes the connection.
pub async fn reach(
    tls: &Tls,
    us: &Introduction,
    node: NodeId,
    address: &str,
    within: Duration,
) -> io::Result<io::Result<()>> {
    let tcp = dial(address, within).await?;
    Ok(introduce(tls, us, tcp, node, address, within).await.map(|_| ()))
}

async fn connect(
    tls: &Tls,
    us: &Introduction,
    node: NodeId,
    address: &str,
    within: Duration,
) -> io::Result<TlsStream<TcpStream>> {
    introduce(tls, us, dial(address, within).await?, node, address, within).await
}

async fn dial(address: &str, within: Duration) -> io::Result<TcpStream> {
    timeout(within, TcpStream::connect(address)).await?
}

/// TLS and the hellos.
async fn introduce(
    tls: &Tls,
    us: &Introduction,
    tcp: TcpStream,
    node: NodeId,
    address: &str,
    within: Duration,
) -> io::Result<TlsStream<TcpStream>> {
    tcp.set_nodelay(true)?;
    let mut stream = timeout(within, tls.connector.connect(Tls::server_name(node), tcp)).await??;
    let found = tls.peer(stream.get_ref().1.peer_certificates()).map_err(io::Error::other)?;
    if found.node != node {
        return Err(io::Error::other(format!("{address} is node {}, not node {node}", found.node)));
    }
    us.exchange(&mut stream, &found, within).await?;
    Ok(stream)
}
