//! The watchdog: a thread of its own that tells systemd "alive" only while consensus and the side of the files make progress.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use crate::notify;

/// Starts the thread, if systemd asks for beats. `stop` ends it: a stopping node has another time limit.
pub fn start(files: Handle, consensus: flotilla_raft::Handle, stop: CancellationToken) -> std::io::Result<()> {
    let Some(patience) = sd_notify::watchdog_enabled() else { return Ok(()) };
    let every = patience / 3;
    let runtime = Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new().name("flotilla-watch".into()).spawn(move || {
        let rounds = async {
            let mut ticks = tokio::time::interval(every);
            loop {
                ticks.tick().await;
                let file_side = async { files.spawn(async {}).await.is_ok() };
                if progress(every, consensus.is_responsive(), file_side).await {
                    notify::beat();
                }
            }
        };
        runtime.block_on(async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = rounds => {}
            }
        });
    })?;
    Ok(())
}

/// Whether both sides answered within `limit`; says which did not.
async fn progress(limit: Duration, consensus: impl Future<Output = bool>, files: impl Future<Output = bool>) -> bool {
    let answered = async |side: &str, answer: &mut (dyn Future<Output = bool> + Unpin)| {
        let answered = tokio::time::timeout(limit, answer).await.unwrap_or(false);
        if !answered {
            tracing::error!(sender = "watchdog", side, "no progress: systemd is not told that this node is alive");
        }
        answered
    };
    let (mut consensus, mut files) = (Box::pin(consensus), Box::pin(files));
    let (consensus, files) = tokio::join!(answered("consensus", &mut consensus), answered("files", &mut files));
    consensus && files
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_beat_needs_both_sides() {
        let limit = Duration::from_secs(1);
        assert!(progress(limit, ready(true), ready(true)).await);
        assert!(!progress(limit, pending(), ready(true)).await, "consensus stands still");
        assert!(!progress(limit, ready(true), pending()).await, "the side of the files stands still");
        assert!(!progress(limit, ready(false), ready(true)).await, "consensus has ended");
    }

    #[test]
    fn a_runtime_whose_workers_are_blocked_gives_no_answer() {
        let files = Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        files.spawn(async move { blocked.recv().is_ok() });
        let handle = files.handle().clone();
        let probe = async move { handle.spawn(async {}).await.is_ok() };
        let watch = Builder::new_current_thread().enable_time().build().expect("a runtime");
        assert!(!watch.block_on(progress(Duration::from_millis(200), ready(true), probe)));
        release.send(()).expect("it waits");
        let handle = files.handle().clone();
        let probe = async move { handle.spawn(async {}).await.is_ok() };
        assert!(watch.block_on(progress(Duration::from_secs(20), ready(true), probe)));
    }
}
