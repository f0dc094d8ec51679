//! Binds the addresses and sets what every connection of them inherits.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::server::Error;

/// Connections that the kernel holds for us while we are busy.
pub(crate) const BACKLOG: i32 = 1024;
const KEEPALIVE_TIME: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// Also ends live clients that do not read for so long (`apis.md` 1).
const USER_TIMEOUT: Duration = Duration::from_secs(120);

/// Listens on one address. Fails with the address in the error.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    let failed = |source| Error::Bind { address, source };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP));
    let socket = socket.map_err(failed)?;
    socket.set_reuse_address(true).map_err(failed)?;
    if address.is_ipv6() {
        // One listener each, so that `0.0.0.0` and `[::]` can be given together.
        socket.set_only_v6(true).map_err(failed)?;
    }
    socket.bind(&address.into()).map_err(failed)?;
    socket.listen(BACKLOG).map_err(failed)?;
    TcpListener::from_std(socket.into()).map_err(failed)
}

/// Options of an accepted connection (`PROTOCOL.md` 2.5). A connection that refuses them is used nevertheless: it is about to end.
pub(crate) fn tune(tcp: &TcpStream) {
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_RETRIES);
    let socket = socket2::SockRef::from(tcp);
    let set = tcp
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keepalive))
        .and_then(|()| socket.set_tcp_user_timeout(Some(USER_TIMEOUT)));
    if let Err(error) = set {
        tracing::debug!(%error, "socket options were refused");
    }
}
