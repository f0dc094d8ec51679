//! The PROXY protocol (HAProxy, `doc/proxy-protocol.txt`), versions 1 and 2: who the client of a proxied connection is.

mod v1;
mod v2;

use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A v2 header with its TLVs; balancers send a few hundred bytes.
const MAX_HEADER: usize = 4096;
/// What is read at once; the client's identification string may follow in the same segment.
const CHUNK: usize = 512;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// The client's address, and the address that it connected to.
    Proxied { source: SocketAddr, destination: SocketAddr },
    /// The proxy itself, or a family that we do not know: the connection's own addresses stand.
    Own,
}

/// Why a header is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("not a PROXY header")]
    NotAHeader,
    #[error("PROXY header is damaged: {0}")]
    Damaged(&'static str),
    #[error("PROXY header is longer than {MAX_HEADER} bytes")]
    TooLong,
    #[error("connection ended within the PROXY header")]
    Ended,
    #[error("connection failed within the PROXY header: {0}")]
    Failed(String),
}

/// `None`: more bytes are needed. Else what was said, and how many bytes it took.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Said, usize)>, ProxyError> {
    let shared = |signature: &[u8]| {
        let length = bytes.len().min(signature.len());
        bytes[..length] == signature[..length]
    };
    if shared(v2::SIGNATURE) {
        v2::parse(bytes)
    } else if shared(v1::SIGNATURE) {
        v1::parse(bytes)
    } else {
        Err(ProxyError::NotAHeader)
    }
}

/// Reads the header from a fresh connection; what came behind it is the client's. The caller has the deadline.
pub(crate) async fn read(tcp: &mut TcpStream) -> Result<(Said, Vec<u8>), ProxyError> {
    let mut bytes = Vec::with_capacity(CHUNK);
    loop {
        if let Some((said, used)) = parse(&bytes)? {
            return Ok((said, bytes.split_off(used)));
        }
        if bytes.len() >= MAX_HEADER {
            return Err(ProxyError::TooLong);
        }
        let mut part = tcp.take(CHUNK as u64);
        match part.read_buf(&mut bytes).await {
            Ok(0) => return Err(ProxyError::Ended),
            Ok(_) => {}
            Err(error) => return Err(ProxyError::Failed(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests;
