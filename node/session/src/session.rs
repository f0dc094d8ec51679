//! An admitted session: one authenticated connection with its slots.

use std::sync::Arc;

use crate::connection::Connection;

/// KB/s (1000 bytes); 0 = unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    pub upload: u64,
    pub download: u64,
}

/// Why a file-transfer channel was refused; the text is for the client.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ChannelRefused(pub String);

/// One authenticated connection. Implements `Files`.
pub struct Session {
    connection: Arc<Connection>,
}

impl Session {
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The user's present bandwidth limits.
    pub fn bandwidth(&self) -> Bandwidth {
        Bandwidth::default()
    }

    /// A file-transfer channel begins: the first one uses the session's slot, further ones open at the same time take one each (2.2).
    /// Asked at the `subsystem` or `exec` request; may wait, so call it from a task.
    pub async fn open_channel(&self) -> Result<(), ChannelRefused> {
        Ok(())
    }

    /// A file-transfer channel ended; its slot is left to the next one of this connection.
    pub fn close_channel(&self) {}

    /// The stream is dead: ends the session in the background. Jobs are waited for, uploads abandoned, the ledger settled, then all
    /// slots are given back together. The first reason stands; later calls do nothing.
    pub fn finish(&self, reason: &str) {
        let _ = reason;
    }
}
