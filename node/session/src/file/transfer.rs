//! What is counted and logged of one handle: bytes, time, outcome.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use flotilla_cluster::ActiveTransfer;
use tokio::time::Instant;

use crate::files::Failure;
use crate::path::VPath;
use crate::session::Session;

/// Bytes that one handle moved.
pub(crate) struct Transfer {
    path: VPath,
    /// The folder in which the file was found, where rights differ by folder.
    folder: Option<VPath>,
    started: Instant,
    read: AtomicU64,
    written: AtomicU64,
}

impl Transfer {
    pub fn new(path: VPath, folder: Option<VPath>) -> Self {
        Transfer { path, folder, started: Instant::now(), read: AtomicU64::new(0), written: AtomicU64::new(0) }
    }

    pub fn note_read(&self, session: &Session, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        session.note_downloaded(bytes as u64);
    }

    pub fn note_written(&self, session: &Session, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
        session.note_uploaded(bytes as u64);
    }

    pub fn path(&self) -> &VPath {
        &self.path
    }

    pub fn folder(&self) -> Option<&VPath> {
        self.folder.as_ref()
    }

    /// What it is so far, for lists of what goes on.
    pub fn active(&self, session: &Session, for_writing: bool) -> ActiveTransfer {
        let started = SystemTime::now().checked_sub(self.started.elapsed()).unwrap_or(UNIX_EPOCH);
        let moved = if for_writing { &self.written } else { &self.read };
        ActiveTransfer {
            session: session.id(),
            upload: for_writing,
            started_at: started.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
            size: moved.load(Ordering::Relaxed),
            path: self.path.shown(),
        }
    }

    /// One line per transfer, in the sender that its direction has (`reference/sftpgo.md` 2.11).
    pub fn log(&self, session: &Session, for_writing: bool, outcome: &Result<(), Failure>) {
        let (sender, size) = if for_writing { ("Upload", &self.written) } else { ("Download", &self.read) };
        let connection = session.connection();
        let error = outcome.as_ref().err().map(ToString::to_string);
        tracing::info!(
            sender,
            local_addr = %connection.local(),
            remote_addr = %connection.remote(),
            elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            size_bytes = size.load(Ordering::Relaxed),
            username = %session.username(),
            virtual_path = self.path.shown(),
            connection_id = %session.id(),
            protocol = connection.protocol(),
            error,
            "transfer"
        );
        let result = if error.is_some() { "failed" } else { "ok" };
        metrics::counter!("flotilla_transfers_total", "sender" => sender, "result" => result).increment(1);
    }
}
