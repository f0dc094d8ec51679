//! A client's end of a connection that can stop reading, and knows how many bytes came.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// The stream that the SSH client is given.
pub(super) struct Tap {
    shared: Arc<Shared>,
}

/// Stops and counts what the client reads. Cheap to clone.
#[derive(Clone)]
pub struct Valve {
    shared: Arc<Shared>,
}

struct Shared {
    own: SocketAddr,
    server: SocketAddr,
    stream: TcpStream,
    closed: Mutex<Closed>,
    received: AtomicU64,
    /// Why nothing more can be read; `None` inside: a normal end.
    ended: watch::Sender<Option<Option<io::ErrorKind>>>,
}

#[derive(Default)]
struct Closed {
    closed: bool,
    reader: Option<Waker>,
}

impl Tap {
    pub(super) async fn connect(address: SocketAddr) -> io::Result<(Tap, Valve)> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let ended = watch::Sender::new(None);
        let (own, server) = (stream.local_addr()?, stream.peer_addr()?);
        let shared =
            Arc::new(Shared { own, server, stream, closed: Mutex::default(), received: AtomicU64::new(0), ended });
        Ok((Tap { shared: Arc::clone(&shared) }, Valve { shared }))
    }
}

impl Valve {
    /// From here on the client reads nothing.
    pub fn close(&self) {
        self.shared.lock().closed = true;
    }

    pub fn open(&self) {
        let reader = {
            let mut closed = self.shared.lock();
            closed.closed = false;
            closed.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Bytes that reached this machine's kernel for the client, read or not.
    pub fn arrived(&self) -> Result<u64> {
        loop {
            let before = self.shared.received.load(Ordering::SeqCst);
            let waiting = rustix::io::ioctl_fionread(&self.shared.stream)?;
            if self.shared.received.load(Ordering::SeqCst) == before {
                return Ok(before + waiting);
            }
        }
    }

    /// The client's own address, as the server sees it.
    pub fn local_address(&self) -> SocketAddr {
        self.shared.own
    }

    /// Waits until the server has more to send than either kernel takes: nothing moves although its send queue is full.
    pub async fn stalled(&self, limit: Duration) -> Result<()> {
        let (own, server) = (self.shared.own, self.shared.server);
        let end = tokio::time::Instant::now() + limit;
        let mut every = tokio::time::interval(Duration::from_millis(20));
        let (mut last, mut same, mut full) = (0, 0, false);
        while same < 10 || !full {
            every.tick().await;
            let now = self.arrived()?;
            (same, full) = if now == last { (same + 1, full) } else { (0, false) };
            last = now;
            // The kernel's table may leave a row out of one reading while sockets come and go.
            full |= send_queue(server, own)? > 0;
            if tokio::time::Instant::now() > end {
                bail!("after {limit:?} the server's send queue is not full: {now} bytes came, full {full}");
            }
        }
        Ok(())
    }

    /// Waits until the connection is over for the reader. True: it was reset; false: it ended in order.
    pub async fn reset(&self, limit: Duration) -> Result<bool> {
        let mut ended = self.shared.ended.subscribe();
        match tokio::time::timeout(limit, ended.wait_for(Option::is_some)).await {
            Ok(Ok(kind)) => Ok(matches!(*kind, Some(Some(_)))),
            _ => bail!("the connection is still there after {limit:?}"),
        }
    }
}

/// The kernel's IPv4 connections, read twice: it may leave a row out of one reading while sockets come and go.
pub struct Connections {
    readings: [String; 2],
}

impl Connections {
    pub fn now() -> Result<Connections> {
        let read = || std::fs::read_to_string("/proc/net/tcp");
        Ok(Connections { readings: [read()?, read()?] })
    }

    /// Whether the client's end is closed in the kernel: by a reset, which on loopback is there as soon as the server has sent it,
    /// or by an end in order after which the client closed as well. `Valve::reset` tells which.
    pub fn closed(&self, valve: &Valve) -> bool {
        const CLOSED: &str = "07";
        let found = self.readings.iter().find_map(|table| row(table, valve.shared.own, valve.shared.server));
        found.is_none_or(|row| row[3] == CLOSED)
    }
}

/// The row of the socket between two addresses: number, local, remote, state, queues.
fn row(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<Vec<&str>> {
    let (local, remote) = (hex(local), hex(remote));
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).filter(|row| row.len() > 4);
    rows.find(|row| row[1] == local && row[2] == remote)
}

/// Bytes in the send queue of the socket between two addresses, as the kernel's table says.
fn send_queue(local: SocketAddr, remote: SocketAddr) -> Result<u64> {
    let table = std::fs::read_to_string("/proc/net/tcp")?;
    let sending = row(&table, local, remote).and_then(|row| row[4].split(':').next().map(str::to_owned));
    Ok(sending.and_then(|hex| u64::from_str_radix(&hex, 16).ok()).unwrap_or(0))
}

/// As `/proc/net/tcp` writes an IPv4 address.
fn hex(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => format!("{:08X}:{:04X}", u32::from_le_bytes(v4.ip().octets()), v4.port()),
        SocketAddr::V6(v6) => v6.to_string(),
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Closed> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_end(&self, kind: Option<io::ErrorKind>) {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(kind);
            first
        });
    }
}

impl AsyncRead for Tap {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let shared = &self.shared;
        loop {
            {
                let mut closed = shared.lock();
                if closed.closed {
                    closed.reader = Some(context.waker().clone());
                    return Poll::Pending;
                }
            }
            ready!(shared.stream.poll_read_ready(context))?;
            match shared.stream.try_read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    shared.received.fetch_add(count as u64, Ordering::SeqCst);
                    if count == 0 {
                        shared.note_end(None);
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    shared.note_end(Some(error.kind()));
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

impl AsyncWrite for Tap {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.shared.stream.poll_write_ready(context))?;
            match self.shared.stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.shared.note_end(Some(error.kind()));
                    return Poll::Ready(Err(error));
                }
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(rustix::net::shutdown(&self.shared.stream, rustix::net::Shutdown::Write).map_err(Into::into))
    }
}
