//! SFTP over any pair of byte streams: for `subsystem`, and for tests without SSH.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use flotilla_session::Files;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::Notify,
};

use crate::engine::{CloseReason, Config, Engine, Feed, Gone, InlineOut, Out};

const READ_BYTES: usize = 64 << 10;
/// Jobs wait, and nothing is answered on the spot, while this much is queued for the writer.
const QUEUED_BYTES: usize = 1 << 20;

/// Serves one client until it leaves, breaks the protocol or the session ends. Files still open are abandoned before it returns.
pub async fn serve_stream(
    files: Arc<dyn Files>,
    config: Config,
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
) -> io::Result<CloseReason> {
    let out = Arc::new(StreamOut::default());
    let limit = config.finish_limit;
    let mut engine = Engine::new(files, config, out.clone());
    let result = tokio::select! {
        result = feed_all(&mut engine, &out, reader) => result,
        result = out.write_all(writer) => result,
        // A client that does not read cannot keep a session that is over.
        reason = async { let reason = out.closed().await; tokio::time::sleep(limit).await; reason } => Ok(reason),
    };
    out.end(CloseReason::Gone);
    engine.finish().await;
    result
}

async fn feed_all(engine: &mut Engine, out: &StreamOut, mut reader: impl AsyncRead + Unpin) -> io::Result<CloseReason> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let length = tokio::select! {
            length = reader.read(&mut buffer) => length?,
            // The writer ends with the reason once what is queued is written.
            _ = out.closed() => std::future::pending().await,
        };
        if length == 0 {
            return Ok(CloseReason::Gone);
        }
        let mut inline = out;
        if let Feed::Close(reason) = engine.feed(&buffer[..length], &mut inline).await {
            out.end(reason);
        }
    }
}

#[derive(Default)]
struct StreamOut {
    state: Mutex<Queue>,
    changed: Notify,
}

#[derive(Default)]
struct Queue {
    replies: VecDeque<Bytes>,
    bytes: usize,
    end: Option<CloseReason>,
}

impl StreamOut {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, reply: Bytes) {
        let mut queue = self.lock();
        queue.bytes += reply.len();
        queue.replies.push_back(reply);
        drop(queue);
        self.changed.notify_waiters();
    }

    fn end(&self, reason: CloseReason) {
        self.lock().end.get_or_insert(reason);
        self.changed.notify_waiters();
    }

    async fn wait_for<T>(&self, mut look: impl FnMut(&mut Queue) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = look(&mut self.lock()) {
                return found;
            }
            changed.await;
        }
    }

    async fn closed(&self) -> CloseReason {
        self.wait_for(|queue| queue.end.clone()).await
    }

    async fn write_all(&self, mut writer: impl AsyncWrite + Unpin) -> io::Result<CloseReason> {
        loop {
            let next = self.wait_for(|queue| match (queue.replies.pop_front(), &queue.end) {
                (Some(reply), _) => Some(Ok(reply)),
                (None, Some(reason)) => Some(Err(reason.clone())),
                (None, None) => None,
            });
            match next.await {
                Ok(reply) => {
                    writer.write_all(&reply).await?;
                    writer.flush().await?;
                    self.lock().bytes -= reply.len();
                    self.changed.notify_waiters();
                }
                Err(reason) => {
                    writer.shutdown().await?;
                    return Ok(reason);
                }
            }
        }
    }
}

#[async_trait]
impl Out for StreamOut {
    async fn send(&self, reply: Bytes) -> Result<(), Gone> {
        let room = self.wait_for(|queue| match queue.end {
            Some(_) => Some(Err(Gone)),
            None => (queue.bytes < QUEUED_BYTES).then_some(Ok(())),
        });
        room.await?;
        self.push(reply);
        Ok(())
    }

    async fn close(&self, reason: CloseReason) {
        self.end(reason);
    }
}

impl InlineOut for &StreamOut {
    fn reply(&mut self, reply: Bytes) {
        self.push(reply);
    }

    fn window_open(&self) -> bool {
        self.lock().bytes < QUEUED_BYTES
    }
}
