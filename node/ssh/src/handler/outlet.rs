//! Where the engine's replies go: from within a callback straight into the packet writer, from jobs through russh's bounded queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use flotilla_sftp::{CloseReason, Gone, InlineOut, Out};
use russh::ChannelId;
use russh::server::{Handle, Session};

/// For jobs. russh takes from its queue only while no key exchange runs and the client's window is open: that is the back-pressure.
pub(super) struct Outlet {
    handle: Handle,
    channel: ChannelId,
    closed: Arc<AtomicBool>,
}

impl Outlet {
    pub(super) fn new(handle: Handle, channel: ChannelId, closed: Arc<AtomicBool>) -> Self {
        Outlet { handle, channel, closed }
    }
}

#[async_trait]
impl Out for Outlet {
    async fn send(&self, reply: Bytes) -> Result<(), Gone> {
        self.handle.data(self.channel, reply).await.map_err(|_| Gone)
    }

    async fn close(&self, reason: CloseReason) {
        tracing::info!(sender = "ssh", %reason, "channel closed");
        let _ = self.handle.close(self.channel).await;
        self.closed.store(true, Ordering::Release);
    }
}

/// For answers on the spot.
pub(super) struct Inline<'a> {
    session: &'a mut Session,
    channel: ChannelId,
    failed: Option<russh::Error>,
}

impl<'a> Inline<'a> {
    pub(super) fn new(session: &'a mut Session, channel: ChannelId) -> Self {
        Inline { session, channel, failed: None }
    }

    pub(super) fn into_result(self) -> Result<(), russh::Error> {
        self.failed.map_or(Ok(()), Err)
    }
}

impl InlineOut for Inline<'_> {
    fn reply(&mut self, reply: Bytes) {
        if let Err(error) = self.session.data(self.channel, reply) {
            self.failed.get_or_insert(error);
        }
    }

    fn window_open(&self) -> bool {
        self.failed.is_none() && !self.session.has_pending_data(self.channel)
    }
}
