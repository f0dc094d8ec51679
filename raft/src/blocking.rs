//! Work that may wait for a disk: on a thread that may, and in place where a seeded simulation is the only thread.

use std::io;

/// Runs it where it holds nobody up.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    if cfg!(feature = "simulation") {
        return work();
    }
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
