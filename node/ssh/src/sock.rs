//! The socket that russh is given: every byte passes the gate, the login's deadline and byte budget, and the bandwidth limits.
//!
//! Writes go through [`Gate::write`], the last point before the kernel (`PROTOCOL.md` 2.3): once a cut has returned none can start.

mod read;
mod wire;
mod write;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::net::TcpStream;
use tokio::time::Sleep;

use crate::throttle::Throttle;
pub(crate) use wire::Wire;

/// One read of the socket; freed while the connection is idle.
const READ_BUFFER: usize = 64 * 1024;

pub(crate) struct Sock {
    wire: Arc<Wire>,
    /// Until the login is accepted: polled with every read and every write that waits.
    grace: Option<Pin<Box<Sleep>>>,
    buffer: Vec<u8>,
    taken: usize,
    handshake_left: usize,
    up: Throttle,
    down: Throttle,
    /// Set by `poll_shutdown`: how long the client may still take to read our goodbye.
    goodbye: Option<Pin<Box<Sleep>>>,
    shut: bool,
}

impl Sock {
    /// `first`: bytes that came behind a PROXY header.
    pub(crate) fn new(wire: Arc<Wire>, first: Vec<u8>, handshake_bytes: usize) -> Self {
        let grace = Some(Box::pin(tokio::time::sleep_until(wire.login_deadline())));
        Sock {
            wire,
            grace,
            buffer: first,
            taken: 0,
            handshake_left: handshake_bytes,
            up: Throttle::new(),
            down: Throttle::new(),
            goodbye: None,
            shut: false,
        }
    }

    fn tcp(&self) -> &TcpStream {
        self.wire.tcp()
    }

    /// What ends the connection from our side, whether or not the socket is ready.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Err(reason) = self.wire.gate().check() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason.to_string()));
        }
        let Some(grace) = self.grace.as_mut() else { return Ok(()) };
        if self.wire.is_logged_in() {
            self.grace = None;
        } else if grace.as_mut().poll(cx).is_ready() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "login took too long"));
        }
        Ok(())
    }

    /// Before `Pending`: a cut must wake this task; one that came since the check is seen at once.
    fn pend<T>(&self, cx: &Context<'_>) -> Poll<io::Result<T>> {
        self.wire.gate().register(cx.waker());
        Poll::Pending
    }
}

impl Drop for Sock {
    fn drop(&mut self) {
        self.wire.note_dead();
    }
}

#[cfg(test)]
mod tests;
