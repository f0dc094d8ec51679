//! The end of a session: uploads abandoned, the account left. Then its owner gives the slots back (`PROTOCOL.md` 2.2).

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::Session;
use crate::path::VPath;

impl Session {
    /// The stream is dead: ends the session in the background. Jobs are waited for, uploads abandoned, the ledger settled, then all
    /// slots are given back together. The first reason stands; later calls do nothing.
    pub fn finish(&self, reason: &str) {
        self.lifecycle.end(reason);
    }

    /// Returns when the slots have been given back, or the epoch is over.
    pub async fn closed(&self) {
        self.lifecycle.closed().await;
    }

    /// After all jobs have returned and no new one can begin. The end is logged as soon as nothing can move any more: leaving the
    /// account may have to wait for a quorum.
    pub(crate) async fn clear_away(&self, reason: &str) {
        let open: Vec<_> = {
            let mut files = self.open_files.lock().unwrap_or_else(PoisonError::into_inner);
            files.drain().map(|(_, file)| file).collect()
        };
        for file in open {
            file.abandon().await;
        }
        for upload in self.all_uploads() {
            upload.abandon(self).await;
        }
        // A caught file may still be measured: its credit belongs to this session.
        self.connection.jobs_done().await;
        self.log_end(reason);
        let account = self.account.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Nobody else holds it: jobs have returned. If somebody does, it leaves when dropped.
        if let Some(account) = account.and_then(Arc::into_inner) {
            account.leave().await;
        }
        metrics::gauge!("flotilla_sessions").decrement(1.0);
    }

    /// Uploaded, downloaded.
    pub(crate) fn bytes_moved(&self) -> (u64, u64) {
        (self.bytes_uploaded.load(Ordering::Relaxed), self.bytes_downloaded.load(Ordering::Relaxed))
    }

    fn log_end(&self, reason: &str) {
        let (bytes_uploaded, bytes_downloaded) = self.bytes_moved();
        tracing::info!(
            sender = "session_end",
            username = %self.username,
            connection_id = %self.id,
            protocol = self.connection.protocol(),
            remote_addr = %self.connection.remote(),
            elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            bytes_uploaded,
            bytes_downloaded,
            reason,
            "session ended"
        );
    }

    /// One line per command that changed names (`reference/sftpgo.md` 2.11). Successes only.
    pub(crate) fn log_command(&self, sender: &'static str, path: &VPath, target: Option<&VPath>) {
        tracing::info!(
            sender,
            local_addr = %self.connection.local(),
            remote_addr = %self.connection.remote(),
            username = %self.username,
            virtual_path = path.shown(),
            virtual_target_path = target.map(VPath::shown),
            connection_id = %self.id,
            protocol = self.connection.protocol(),
            "command"
        );
    }
}
