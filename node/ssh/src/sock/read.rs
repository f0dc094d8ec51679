//! Reading: through a buffer that idle connections do not keep.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

use super::{READ_BUFFER, Sock};

/// russh reads on until the client closes; after a goodbye for so long, else not at all.
pub(super) const GOODBYE: Duration = Duration::from_secs(2);

impl AsyncRead for Sock {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.shut {
            return this.poll_read_after_goodbye(cx);
        }
        this.poll_over(cx)?;
        if this.taken == this.buffer.len() {
            ready!(this.poll_fill(cx))?;
        }
        let rest = &this.buffer[this.taken..];
        let part = rest.len().min(into.remaining());
        into.put_slice(&rest[..part]);
        this.taken += part;
        Poll::Ready(Ok(()))
    }
}

impl Sock {
    /// Reads once into the empty buffer; leaves it empty at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.buffer.clear();
        self.taken = 0;
        let rate = self.wire.rates().0;
        let Poll::Ready(allowed) = self.up.poll_allowed(cx, rate, READ_BUFFER) else { return self.pend(cx) };
        loop {
            if self.tcp().poll_read_ready(cx)?.is_pending() {
                self.buffer = Vec::new();
                return self.pend(cx);
            }
            self.buffer.reserve_exact(READ_BUFFER);
            let wire = std::sync::Arc::clone(&self.wire);
            let mut limited = bytes::BufMut::limit(&mut self.buffer, allowed);
            match wire.tcp().try_read_buf(&mut limited) {
                Ok(read) => return Poll::Ready(self.count(rate, read)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn count(&mut self, rate: u64, read: usize) -> io::Result<()> {
        if read > 0 {
            self.wire.note_received(read);
            self.up.spend(rate, read);
        }
        if !self.wire.is_logged_in() {
            self.handshake_left = self
                .handshake_left
                .checked_sub(read)
                .ok_or_else(|| io::Error::new(io::ErrorKind::QuotaExceeded, "too many bytes before the login"))?;
        }
        Ok(())
    }

    /// What still comes is thrown away; the end of the stream, or of our patience, lets russh finish.
    fn poll_read_after_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(goodbye) = self.goodbye.as_mut() else { return Poll::Ready(Ok(())) };
        if goodbye.as_mut().poll(cx).is_ready() || !self.wire.gate().is_open() {
            return Poll::Ready(Ok(()));
        }
        let mut scrap = [0u8; 4096];
        loop {
            if self.tcp().poll_read_ready(cx).is_pending() {
                return self.pend(cx);
            }
            match self.tcp().try_read(&mut scrap) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }
}
