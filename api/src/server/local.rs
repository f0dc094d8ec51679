//! The local socket: a Unix socket in the node's data folder. Who can open it owns the node, so no token is asked for; it is how a
//! lost admin token is made anew.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections at a time.
const CONNECTIONS: usize = 16;
const PAUSE: Duration = Duration::from_millis(200);

/// The user of the process behind a connection of the local socket: the node's own, or root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalUser(pub u32);

/// Bound, with a mode that lets only its owner in. Removed at the end.
pub(super) struct LocalSite {
    listener: UnixListener,
    path: PathBuf,
    router: Router,
}

impl LocalSite {
    /// What an earlier process left is replaced: the data folder has one process, by its lock.
    pub(super) fn bind(path: &Path, router: Router) -> std::io::Result<LocalSite> {
        let named = |error: std::io::Error| {
            std::io::Error::new(error.kind(), format!("local socket {}: {error}", path.display()))
        };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(named(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(named)?;
        // Whoever connected before this is told apart by their user all the same.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(named)?;
        Ok(LocalSite { listener, path: path.to_owned(), router })
    }

    /// HTTP/2 only: gRPC.
    pub(super) async fn serve(self, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = next(&self.listener, &places) => accepted,
            };
            let Some((stream, user, place)) = accepted else { continue };
            let router = self.router.clone().layer(axum::Extension(user));
            let stop = stop.clone();
            tokio::spawn(async move {
                let _place = place;
                let mut http = http2::Builder::new(TokioExecutor::new());
                http.timer(TokioTimer::new()).max_concurrent_streams(16);
                let served = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
                let mut served = std::pin::pin!(served);
                let ended = tokio::select! {
                    ended = served.as_mut() => ended,
                    () = stop.cancelled() => {
                        served.as_mut().graceful_shutdown();
                        served.await
                    }
                };
                if let Err(error) = ended {
                    tracing::debug!(sender = "http", %error, "local connection ended");
                }
            });
        }
        let _ = std::fs::remove_file(&self.path);
        // Every connection holds a place until it is through.
        let _ = places.acquire_many(CONNECTIONS as u32).await;
    }
}

type Place = tokio::sync::OwnedSemaphorePermit;

/// `None`: nobody, or somebody who is neither root nor the node's own user.
async fn next(listener: &UnixListener, places: &Arc<Semaphore>) -> Option<(UnixStream, LocalUser, Place)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    let stream = match listener.accept().await {
        Ok((stream, _)) => stream,
        Err(error) => {
            tracing::warn!(sender = "http", %error, "local connections cannot be accepted");
            tokio::time::sleep(PAUSE).await;
            return None;
        }
    };
    let user = stream.peer_cred().ok()?.uid();
    let own = rustix::process::geteuid().as_raw();
    if user != own && user != 0 {
        tracing::warn!(sender = "http", user, "a connection to the local socket was refused");
        return None;
    }
    Some((stream, LocalUser(user), place))
}
