//! The admin listener: gRPC and REST with tokens, health without, metrics on loopback or with a token.

mod accept;
mod local;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::accept::Site;
use self::local::LocalSite;
pub(crate) use self::local::LocalUser;
pub use self::tls::{CertificateName, Material, Tls, TlsError};
use crate::access::Verb;
use crate::service::Service;
use crate::service::identity::Origin;
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
    /// On loopback metrics need no token.
    pub listen: SocketAddr,
    /// Without it only loopback can be listened on.
    pub tls: Option<Arc<Tls>>,
    /// A further listener with health only.
    pub health: Option<SocketAddr>,
    /// The local socket (see `local.rs`); `None`: there is none.
    pub local: Option<PathBuf>,
}

/// Bound to its addresses, not running yet.
pub struct ApiServer {
    admin: Site,
    health: Option<Site>,
    local: Option<LocalSite>,
    /// Ends streams that would go on for as long as their callers listen.
    ending: CancellationToken,
}

#[derive(Clone)]
struct Health {
    readiness: Arc<dyn Readiness>,
    /// Absent on the plain listener.
    metrics: Option<(PrometheusHandle, Arc<Service>)>,
}

impl ApiServer {
    /// Binds, or says which address it cannot.
    pub async fn bind(
        config: Config,
        service: Arc<Service>,
        readiness: Arc<dyn Readiness>,
        metrics: PrometheusHandle,
    ) -> Result<ApiServer, std::io::Error> {
        if config.tls.is_none() {
            loopback(config.listen)?;
        }
        let health = Health { readiness: Arc::clone(&readiness), metrics: None };
        let plain = Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).with_state(health.clone());
        let exported = Health { metrics: Some((metrics, Arc::clone(&service))), ..health };
        let metrics = Router::new().route("/metrics", get(render)).with_state(exported);
        let ending = CancellationToken::new();
        let calls = grpc::routes(Arc::clone(&service), readiness, ending.clone());
        let local = config.local.map(|path| LocalSite::bind(&path, calls.clone())).transpose()?;
        let admin = rest::routes(service, ending.clone()).merge(calls).merge(plain.clone()).merge(metrics);
        let health = match config.health {
            Some(address) => Some(Site { listener: bind("health.listen", address).await?, router: plain, tls: None }),
            None => None,
        };
        let listener = bind("admin.listen", config.listen).await?;
        Ok(ApiServer { admin: Site { listener, router: admin, tls: config.tls }, health, local, ending })
    }

    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.admin.listener.local_addr()
    }

    /// Serves until the token is cancelled; requests that run then are finished, but not for longer than `DRAIN`.
    pub async fn run(self, stop: CancellationToken) -> std::io::Result<()> {
        let health = async {
            if let Some(health) = self.health {
                health.serve(stop.clone()).await;
            }
        };
        let local = async {
            if let Some(local) = self.local {
                local.serve(stop.clone()).await;
            }
        };
        let served = async { tokio::join!(self.admin.serve(stop.clone()), health, local) };
        let cut_off = async {
            stop.cancelled().await;
            self.ending.cancel();
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            _ = served => {}
            () = cut_off => {}
        }
        Ok(())
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
    let text =
        format!("admin.listen {address}: not loopback, and there is no TLS: add [admin.tls] or listen on 127.0.0.1");
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

/// Names of users are no part of it, but it says a lot of a cluster: from another machine it needs what the status needs.
async fn render(State(health): State<Health>, peer: ConnectInfo<SocketAddr>, request: Request) -> Response {
    let Some((metrics, service)) = health.metrics else { return StatusCode::NOT_FOUND.into_response() };
    if !peer.ip().is_loopback()
        && let Err(error) =
            rest::admit(&service, request.headers(), &Origin::of(request.extensions()), Verb::GetStatus).await
    {
        return error.into_response();
    }
    metrics.render().into_response()
}
