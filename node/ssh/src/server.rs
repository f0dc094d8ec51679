//! The component: bind, run until drained, a handle for whoever asks.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use arc_swap::ArcSwap;
use flotilla_cluster::Cluster;
use flotilla_session::{Core, EndReason};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept;
use crate::config::{Config, ProxyProtocol, Reloadable};
use crate::host_keys::{HostKeyError, HostKeys};
use crate::listener;
use crate::penalties::Penalties;
use crate::policy;
use crate::startups::Startups;

/// Why the front end cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no address to listen on")]
    NoListener,
    #[error("cannot listen on {address}: {source}")]
    Bind {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    HostKeys(#[from] HostKeyError),
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// What `Handle::reload` changes; used instead of the same fields of `config`.
    pub(crate) now: ArcSwap<Reloadable>,
    /// For new connections; replaced with the host keys.
    pub(crate) russh: RwLock<Arc<russh::server::Config>>,
    pub(crate) core: Arc<Core>,
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) startups: Arc<Startups>,
    pub(crate) penalties: Arc<Penalties>,
    pub(crate) open: AtomicUsize,
    pub(crate) tasks: TaskTracker,
    /// A drain has begun: connections end as soon as they transfer nothing.
    pub(crate) drain: CancellationToken,
    /// Cuts every connection when cancelled: the drain's time is over.
    pub(crate) stop: CancellationToken,
}

impl Shared {
    /// What a connection that begins now is served with.
    pub(crate) fn russh(&self) -> Arc<russh::server::Config> {
        Arc::clone(&self.russh.read().expect("no panic while the settings are locked"))
    }
}

/// The SSH front end, bound and not yet accepting.
pub struct SshServer {
    shared: Arc<Shared>,
    listeners: Vec<(TcpListener, ProxyProtocol)>,
    addresses: Vec<SocketAddr>,
}

/// Looks at a running front end.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
}

impl Handle {
    /// The bound addresses, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Holds for connections from now on.
    pub fn reload(&self, settings: Reloadable) {
        self.shared.now.store(Arc::new(settings));
    }

    /// Shows these host keys to connections that begin from now on.
    pub fn replace_host_keys(&self, keys: &HostKeys) {
        let mut russh = self.shared.russh.write().expect("no panic while the settings are locked");
        *russh = Arc::new(policy::russh_config(&self.shared.config, keys));
    }

    /// Connections now open, logged in or not.
    pub fn connections(&self) -> usize {
        self.shared.open.load(Ordering::Acquire)
    }
}

impl SshServer {
    /// Binds all listeners. Needs a tokio runtime.
    pub fn bind(config: Config, core: Arc<Core>, cluster: Arc<dyn Cluster>) -> Result<Self, Error> {
        if config.listen.is_empty() {
            return Err(Error::NoListener);
        }
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for listen in &config.listen {
            let listener = listener::bind(listen.address)?;
            let bound = listener.local_addr().map_err(|source| Error::Bind { address: listen.address, source })?;
            addresses.push(bound);
            listeners.push((listener, listen.proxy_protocol));
        }
        let shared = Arc::new(Shared {
            russh: RwLock::new(Arc::new(policy::russh_config(&config, &config.host_keys))),
            startups: Startups::new(&config.limits),
            now: ArcSwap::from_pointee(config.reloadable()),
            penalties: Penalties::new(config.limits.penalties.clone()),
            config,
            core,
            cluster,
            open: AtomicUsize::new(0),
            tasks: TaskTracker::new(),
            drain: CancellationToken::new(),
            stop: CancellationToken::new(),
        });
        Ok(SshServer { shared, listeners, addresses })
    }

    /// Before anything else shares it.
    #[cfg(test)]
    pub(crate) fn set_russh(&mut self, config: russh::server::Config) {
        let shared = Arc::get_mut(&mut self.shared).expect("nothing else shares it yet");
        shared.russh = RwLock::new(Arc::new(config));
    }

    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared), addresses: self.addresses.clone() }
    }

    /// Serves until `drain` is cancelled: then nothing new is accepted, who transfers nothing is cut, transfers that run may finish for
    /// `limits.drain`, the rest is cut. Returns when all connections have ended.
    pub async fn run(self, drain: CancellationToken) {
        let mut loops = JoinSet::new();
        for (listener, proxy) in self.listeners {
            loops.spawn(accept::run(Arc::clone(&self.shared), listener, proxy, drain.clone()));
        }
        while let Some(ended) = loops.join_next().await {
            if ended.is_err() {
                tracing::error!("an accept loop panicked");
                metrics::counter!("flotilla_panics_total", "in" => "ssh_accept").increment(1);
            }
        }
        let shared = self.shared;
        shared.drain.cancel();
        shared.tasks.close();
        if tokio::time::timeout(shared.config.limits.drain, shared.tasks.wait()).await.is_err() {
            tracing::info!(
                connections = shared.open.load(Ordering::Acquire),
                "drain time is over, cutting what is left"
            );
            shared.stop.cancel();
            shared.tasks.wait().await;
        }
    }
}

/// Why a connection is cut at the end of a drain.
pub(crate) const DRAINED: EndReason = EndReason::Drained;
