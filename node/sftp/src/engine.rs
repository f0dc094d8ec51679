//! Turns SFTP packets into calls on a session's [`Files`] and answers them, in whatever order they finish.
//!
//! [`Engine::feed`] runs in the connection's own loop and **never waits for output**: what does not finish on the spot is a bounded job that
//! answers through [`Out`] (`performance.md` 6.1 and H1). It may wait for room for the payload of WRITEs and paths; that room comes back when
//! the files have taken the bytes, so it never depends on the client reading. Where it would, the channel is closed instead.

mod admit;
mod budget;
mod complete;
mod conflict;
mod dispatch;
mod handles;
mod here;
mod inline;
mod schedule;
mod sender;
mod shared;
mod work;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use flotilla_session::Files;

pub use budget::Budget;
use shared::Shared;

use crate::codec::Assembler;

/// What the loop that feeds the engine offers while it feeds.
pub trait InlineOut: Send {
    /// Queues a whole reply. Must not block.
    fn reply(&mut self, reply: Bytes);
    /// Whether the peer can take more now: nothing that was sent before is still waiting.
    fn window_open(&self) -> bool;
}

/// Where jobs send their replies. Called from one task at a time.
#[async_trait]
pub trait Out: Send + Sync + 'static {
    /// Waits until the reply, which must stay contiguous on the channel, is accepted.
    async fn send(&self, reply: Bytes) -> Result<(), Gone>;
    /// Asks for the end of the channel; nothing is sent after it. Called at most once, not after [`Feed::Close`].
    async fn close(&self, reason: CloseReason);
}

/// The channel is gone: nothing can be sent any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("channel is gone")]
pub struct Gone;

/// What the caller does after feeding.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feed {
    Go,
    /// Close the channel and drop the engine.
    Close(CloseReason),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    #[error("protocol error: {0}")]
    Protocol(String),
    /// More is outstanding than a client may have.
    #[error("too much is outstanding: {0}")]
    Overload(&'static str),
    #[error("session ended: {0}")]
    SessionOver(String),
    #[error("channel is gone")]
    Gone,
    /// [`Engine::shutdown`] was called.
    #[error("shut down")]
    Shutdown,
}

/// The bounds of one session's engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Jobs that run at the same time.
    pub running_jobs: usize,
    /// Requests that are queued, running or answered but not sent. More: the channel is closed.
    pub outstanding_requests: usize,
    /// Bytes of WRITE payloads and paths held at the same time; more makes `feed` wait.
    pub payload_bytes: usize,
    /// Bytes of READ and READDIR replies that are being made or wait to be sent.
    pub reply_bytes: usize,
    /// While this much of finished replies waits to be sent, no further READ starts: reading ahead of a slow client gains nothing.
    pub unsent_bytes: usize,
    /// Bytes answered inside one `feed`.
    pub inline_bytes: usize,
    pub open_handles: usize,
    /// The node's room for payloads, shared by its sessions. A session without any payload takes its first one regardless.
    pub node_payloads: Budget,
    /// The node's room for replies, shared by its sessions. A session without any reply takes its first one regardless.
    pub node_replies: Budget,
    /// How long [`Engine::finish`] waits for jobs.
    pub finish_limit: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            running_jobs: 64,
            outstanding_requests: 64 * 1024,
            payload_bytes: 16 << 20,
            reply_bytes: 16 << 20,
            unsent_bytes: 4 << 20,
            inline_bytes: 512 << 10,
            open_handles: 256,
            node_payloads: Budget::new(1 << 30),
            node_replies: Budget::new(1 << 30),
            finish_limit: Duration::from_secs(10),
        }
    }
}

/// One SFTP channel. Dropping it shuts it down: open files are abandoned in the background.
pub struct Engine {
    shared: Arc<Shared>,
    assembler: Assembler,
    initialized: bool,
}

impl Engine {
    /// Must be called within a tokio runtime; jobs run on it.
    pub fn new(files: Arc<dyn Files>, config: Config, out: Arc<dyn Out>) -> Self {
        let shared = Arc::new(Shared::new(files, config, out));
        Self { shared, assembler: Assembler::default(), initialized: false }
    }

    /// Takes bytes from the channel. See the module's words on what it may wait for.
    pub async fn feed(&mut self, bytes: &[u8], inline: &mut dyn InlineOut) -> Feed {
        match self.take(bytes, inline).await {
            Ok(()) => Feed::Go,
            Err(reason) => {
                self.shared.end(reason.clone());
                Feed::Close(reason)
            }
        }
    }

    /// Ends the session: nothing queued is started, nothing is sent, files are abandoned as soon as what runs on them has ended.
    pub fn shutdown(&mut self) {
        self.shared.end(CloseReason::Shutdown);
    }

    /// Shuts down and waits until all files are abandoned; `false` if that took longer than the limit (it goes on in the background).
    pub async fn finish(mut self) -> bool {
        self.shutdown();
        let limit = self.shared.config.finish_limit;
        tokio::time::timeout(limit, self.shared.quiet()).await.is_ok()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shutdown();
    }
}
