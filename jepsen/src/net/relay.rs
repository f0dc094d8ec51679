//! Hands TCP connections on: the administration's way to a listener that is open to its own machine only.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};

/// Connections at one time.
const CONNECTIONS: usize = 512;

/// Listens until the process ends.
pub async fn run(listen: SocketAddr, to: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("relay on {listen}"))?;
    let places = std::sync::Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    loop {
        let place = std::sync::Arc::clone(&places).acquire_owned().await?;
        let Ok((mut from, _)) = listener.accept().await else { continue };
        tokio::spawn(async move {
            if let Ok(mut to) = TcpStream::connect(to).await {
                let _ = (from.set_nodelay(true), to.set_nodelay(true));
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            }
            drop(place);
        });
    }
}
