//! Writing: each system call runs under the gate's lock.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use super::Sock;
use super::read::GOODBYE;

impl AsyncWrite for Sock {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let rate = this.wire.rates().1;
        let Poll::Ready(allowed) = this.down.poll_allowed(cx, rate, bytes.len()) else {
            this.poll_over(cx)?;
            return this.pend(cx);
        };
        loop {
            this.poll_over(cx)?;
            if this.tcp().poll_write_ready(cx)?.is_pending() {
                return this.pend(cx);
            }
            match this.wire.gate().write(|| this.tcp().try_write(&bytes[..allowed])) {
                Ok(written) => {
                    this.wire.note_sent(written);
                    this.down.spend(rate, written);
                    return Poll::Ready(Ok(written));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The stream is dead from here on: nothing that it carries is acknowledged any more.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.shut {
            this.shut = true;
            // A cut resets, and must not look like an end in order; without one it fails when the client has gone, which is as good.
            let tcp = this.wire.tcp();
            let _ =
                this.wire.gate().write(|| socket2::SockRef::from(tcp).shutdown(std::net::Shutdown::Write).map(|()| 0));
            if this.wire.says_goodbye() {
                this.goodbye = Some(Box::pin(tokio::time::sleep(GOODBYE)));
            }
            this.wire.note_dead();
        }
        Poll::Ready(Ok(()))
    }
}
