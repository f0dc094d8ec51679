//! The admin listener: gRPC and REST with tokens, health without, metrics from loopback or with a token.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::service::Service;
use crate::{grpc, rest};

/// Whether this node may be sent logins.
pub trait Readiness: Send + Sync + 'static {
    /// Why not; empty: ready.
    fn reasons(&self) -> Vec<String>;
}

/// How long requests may go on after the stop: a change waits at most 10 s for a quorum and 1 s for cuts.
const DRAIN: Duration = Duration::from_secs(12);

/// What the server is told.
pub struct Config {
    /// Loopback: metrics need no token there.
    pub listen: SocketAddr,
    /// A further listener with health only.
    pub health: Option<SocketAddr>,
}

/// Bound to its addresses, not running yet.
pub struct ApiServer {
    admin: (TcpListener, Router),
    health: Option<(TcpListener, Router)>,
    /// Ends streams that would go on for as long as their callers listen.
    ending: CancellationToken,
}

#[derive(Clone)]
struct Health {
    readiness: Arc<dyn Readiness>,
    metrics: Option<PrometheusHandle>,
}

impl ApiServer {
    /// Binds, or says which address it cannot.
    pub async fn bind(
        config: Config,
        service: Arc<Service>,
        readiness: Arc<dyn Readiness>,
        metrics: PrometheusHandle,
    ) -> Result<ApiServer, std::io::Error> {
        loopback(config.listen)?;
        let health = Health { readiness: Arc::clone(&readiness), metrics: None };
        let plain = Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).with_state(health.clone());
        let exported = Health { metrics: Some(metrics), ..health };
        let metrics = Router::new().route("/metrics", get(render)).with_state(exported);
        let ending = CancellationToken::new();
        let calls = grpc::routes(Arc::clone(&service), readiness, ending.clone());
        let admin = rest::routes(service).merge(calls).merge(plain.clone()).merge(metrics);
        let health = match config.health {
            Some(address) => Some((bind("health.listen", address).await?, plain)),
            None => None,
        };
        Ok(ApiServer { admin: (bind("admin.listen", config.listen).await?, admin), health, ending })
    }

    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.admin.0.local_addr()
    }

    /// Serves until the token is cancelled; requests that run then are finished, but not for longer than `DRAIN`.
    pub async fn run(self, stop: CancellationToken) -> std::io::Result<()> {
        let serve = |(listener, router): (TcpListener, Router)| {
            let stop = stop.clone();
            async move { axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await }
        };
        let served = async {
            match self.health {
                Some(health) => tokio::try_join!(serve(self.admin), serve(health)).map(|_| ()),
                None => serve(self.admin).await,
            }
        };
        let cut_off = async {
            stop.cancelled().await;
            self.ending.cancel();
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            result = served => result,
            () = cut_off => Ok(()),
        }
    }
}

async fn bind(key: &str, address: SocketAddr) -> std::io::Result<TcpListener> {
    let named = |error: std::io::Error| std::io::Error::new(error.kind(), format!("{key} {address}: {error}"));
    TcpListener::bind(address).await.map_err(named)
}

/// Tokens and passwords travel on it.
fn loopback(address: SocketAddr) -> std::io::Result<()> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    let text = format!("admin.listen {address}: not loopback, and this version has no TLS for administration");
    Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, text))
}

async fn livez() -> &'static str {
    "ok"
}

async fn readyz(State(health): State<Health>) -> Response {
    let reasons = health.readiness.reasons();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(json!({"ready": reasons.is_empty(), "reasons": reasons}))).into_response()
}

/// Loopback only in this version, so no token is asked for.
async fn render(State(health): State<Health>) -> Response {
    health.metrics.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |metrics| metrics.render().into_response())
}
