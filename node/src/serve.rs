//! `flotilla serve`: wires one node together and runs it until SIGTERM.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flotilla_api::{ApiServer, Service};
use flotilla_cluster::Cluster;
use flotilla_model::{NodeId, StorageName};
use flotilla_session::{Core, CoreConfig, EndReason};
use flotilla_ssh::SshServer;
use flotilla_vfs::Storage;
use tokio_util::sync::CancellationToken;

use crate::bootstrap::{Bootstrap, HOST_KEYS, parse_host_keys};
use crate::config::{Config, ConfigArgs, Durability, PenaltiesSection, ProxyProtocol, secret_file};
use crate::readiness::NodeReadiness;
use crate::reload::Reloader;
use crate::secrets::ClusterKey;
use crate::telemetry::Logs;
use crate::{admin_tls, gauges, notify, telemetry, watchdog};

/// Of administration without a token, in the data folder.
pub const LOCAL_SOCKET: &str = "admin.sock";
/// Transfers may finish after SIGTERM for this long.
const DRAIN: Duration = Duration::from_secs(4);

#[derive(clap::Args)]
pub struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// End when the parent process ends (used by `flotilla dev`).
    #[arg(long, hide = true)]
    with_parent: bool,
}

pub async fn run(arguments: ServeArgs) -> Result<()> {
    if arguments.with_parent {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    }
    // From here on SIGHUP asks for a reload and does not end the process.
    let hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
    let config = arguments.config.load()?.config;
    let logs = Logs::init(&config.log)?;
    let metrics = telemetry::init_metrics()?;
    let drain = CancellationToken::new();
    let outcome = serve(&arguments, config, (logs, hangup), metrics, drain).await;
    if let Err(error) = &outcome {
        tracing::error!(sender = "node", error = format!("{error:#}"), "ended");
    }
    outcome
}

async fn serve(
    arguments: &ServeArgs,
    config: Config,
    (logs, hangup): (Logs, tokio::signal::unix::Signal),
    metrics: metrics_exporter_prometheus::PrometheusHandle,
    drain: CancellationToken,
) -> Result<()> {
    crate::addresses::check(&config)?;
    crate::descriptors::raise(config.sftp.max_connections as u64);
    let key = ClusterKey::load(&config.node.cluster_key_file)?;
    let storages = open_storages(&config).await?;
    let file = arguments.config.config.with_file_name("bootstrap.json");
    let bootstrap = Bootstrap::load(&file)?;
    let raft_config = raft_config(&config, bootstrap.is_some())?;
    let (raft, handle) = flotilla_raft::RaftNode::start(raft_config).await.context("starting consensus")?;
    let cluster: Arc<dyn Cluster> = Arc::new(handle.clone());
    let core_config = CoreConfig {
        durability: match config.sftp.durability {
            Durability::Close => flotilla_vfs::Durability::Close,
            Durability::None => flotilla_vfs::Durability::None,
        },
        ..CoreConfig::default()
    };
    let core = Core::new(core_config, Arc::clone(&cluster), storages);
    let draining = Arc::new(AtomicBool::new(false));
    let serving = Arc::new(AtomicBool::new(false));
    let readiness = Arc::new(NodeReadiness {
        serving: Arc::clone(&serving),
        cluster: Arc::clone(&cluster),
        core: Arc::clone(&core),
        draining: Arc::clone(&draining),
    });
    gauges::start(&config, Arc::clone(&cluster), Arc::clone(&readiness));
    let stop_api = CancellationToken::new();
    let tls = admin_tls::start(&config)?;
    let api = api_server(&config, &cluster, readiness, metrics, tls.clone()).await?;
    let mut api = tokio::spawn(api.run(stop_api.clone()));
    watchdog::start(tokio::runtime::Handle::current(), handle.clone(), drain.clone())?;
    notify::status("waiting for the cluster");
    if let Some(bootstrap) = bootstrap {
        bootstrap.apply(&cluster, &key, &config.peers.cluster_id).await?;
    }
    let host_keys = parse_host_keys(&wait_host_keys(&cluster, &key, &config.peers.cluster_id).await?)?;
    let ssh = SshServer::bind(ssh_config(&config, host_keys)?, Arc::clone(&core), Arc::clone(&cluster))?;
    let reloader =
        Reloader { arguments: arguments.config.clone(), config: config.clone(), logs, ssh: ssh.handle(), tls };
    tokio::spawn(reloader.run(hangup));
    let mut ssh = tokio::spawn(ssh.run(drain.clone()));
    serving.store(true, Ordering::Release);
    tracing::info!(sender = "node", node = config.node.id, version = env!("CARGO_PKG_VERSION"), "serving");
    notify::ready();
    let mut failure = handle.failure();
    tokio::select! {
        _ = stop_signal() => {}
        ended = &mut ssh => bail!("the SFTP listener ended: {ended:?}"),
        ended = &mut api => bail!("the admin listener ended: {ended:?}"),
        Ok(why) = failure.wait_for(Option::is_some) => {
            bail!("consensus has stopped: {}", why.as_deref().unwrap_or("for an unknown reason"));
        }
    }
    tracing::info!(sender = "node", node = config.node.id, "draining");
    notify::stopping();
    draining.store(true, Ordering::Release);
    core.drain();
    drain.cancel();
    let _ = tokio::time::timeout(DRAIN, ssh).await;
    core.end_sessions(EndReason::Drained, DRAIN).await;
    stop_api.cancel();
    let _ = tokio::time::timeout(DRAIN, api).await;
    raft.shutdown().await;
    Ok(())
}

async fn open_storages(config: &Config) -> Result<Vec<Arc<dyn Storage>>> {
    let mut storages = Vec::new();
    for section in &config.storage {
        let opened =
            flotilla_vfs::LocalStorage::open(&section.name, &section.path, flotilla_vfs::LocalOptions::default()).await;
        storages.push(opened.with_context(|| format!("storage {:?} at {}", section.name, section.path.display()))?);
    }
    Ok(storages)
}

/// All nodes show the same host keys: they come from the log. Waits for as long as the cluster has none.
async fn wait_host_keys(cluster: &Arc<dyn Cluster>, key: &ClusterKey, cluster_id: &str) -> Result<Vec<u8>> {
    let mut applied = cluster.applied();
    loop {
        if let Some(secret) = cluster.state().secret(HOST_KEYS) {
            return key.open(cluster_id, HOST_KEYS, &secret.sealed);
        }
        tokio::select! {
            changed = applied.changed() => changed.context("consensus ended")?,
            () = stop_signal() => bail!("stopped before the cluster was set up"),
        }
    }
}

async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

pub fn raft_config(config: &Config, bootstrap: bool) -> Result<flotilla_raft::Config> {
    let read = |path: &std::path::Path| {
        std::fs::read_to_string(path).with_context(|| format!("peers: reading {}", path.display()))
    };
    let id = NodeId(config.node.id);
    let peers = &config.peers;
    let mut raft = flotilla_raft::Config::new(id, &peers.cluster_id, config.node.data.clone(), peers.listen);
    for (node, member) in &peers.members {
        let address = flotilla_raft::PeerAddress {
            name: member.name.clone(),
            peer: member.peer.clone(),
            admin: member.admin.clone(),
            sftp: member.sftp.clone(),
        };
        raft.peers.insert(NodeId(node.parse()?), address);
    }
    raft.bootstrap = bootstrap;
    raft.ca_pem = read(&peers.ca_file)?;
    raft.certificate_pem = read(&peers.certificate_file)?;
    raft.key_pem = secret_file::read("peers.key_file", &peers.key_file)?;
    raft.version = env!("CARGO_PKG_VERSION").to_owned();
    raft.snapshot_entries = config.raft.snapshot_entries;
    raft.snapshot_bytes = config.raft.snapshot_bytes;
    raft.keep_entries = config.raft.keep_entries;
    Ok(raft)
}

async fn api_server(
    config: &Config,
    cluster: &Arc<dyn Cluster>,
    readiness: Arc<NodeReadiness>,
    metrics: metrics_exporter_prometheus::PrometheusHandle,
    tls: Option<Arc<flotilla_api::Tls>>,
) -> Result<ApiServer> {
    let storages: Result<Vec<_>, _> = config
        .storage
        .iter()
        .map(|section| StorageName::parse(&section.name).map(|name| (name, section.path.clone())))
        .collect();
    let service = Arc::new(Service::new(Arc::clone(cluster), storages?));
    let listen = flotilla_api::Config {
        listen: config.admin.listen,
        tls,
        health: config.health.listen,
        local: Some(config.node.data.join(LOCAL_SOCKET)),
    };
    Ok(ApiServer::bind(listen, service, readiness, metrics).await?)
}

fn penalties(section: &PenaltiesSection) -> Result<flotilla_ssh::PenaltyRules> {
    let exempt: Result<Vec<flotilla_ssh::Cidr>, _> = section.exempt.iter().map(|text| text.parse()).collect();
    Ok(flotilla_ssh::PenaltyRules {
        auth_failed: Duration::from_secs(section.auth_failed_seconds),
        no_auth: Duration::from_secs(section.no_auth_seconds),
        grace: Duration::from_secs(section.grace_seconds),
        crashed: Duration::from_secs(section.crash_seconds),
        least: Duration::from_secs(section.min_seconds),
        most: Duration::from_secs(section.max_seconds),
        sources: section.sources,
        exempt: exempt.context("sftp.penalties.exempt")?,
    })
}

fn ssh_config(config: &Config, host_keys: flotilla_ssh::HostKeys) -> Result<flotilla_ssh::Config> {
    let trusted: Result<Vec<flotilla_ssh::Cidr>, _> =
        config.sftp.trusted_proxies.iter().map(|text| text.parse()).collect();
    let listen = config.sftp.listen.iter().map(|listen| flotilla_ssh::Listen {
        address: listen.address,
        proxy_protocol: match listen.proxy_protocol {
            ProxyProtocol::Off => flotilla_ssh::ProxyProtocol::Off,
            ProxyProtocol::Required => flotilla_ssh::ProxyProtocol::Required,
        },
    });
    Ok(flotilla_ssh::Config {
        listen: listen.collect(),
        trusted_proxies: trusted.context("sftp.trusted_proxies")?,
        host_keys,
        login_banner: String::new(),
        limits: flotilla_ssh::Limits {
            login_grace: Duration::from_secs(config.sftp.login_grace_seconds),
            connections: config.sftp.max_connections,
            startups_begin: config.sftp.startups_begin,
            startups_percent: config.sftp.startups_percent,
            startups_full: config.sftp.startups_full,
            startups_per_source: config.sftp.startups_per_source,
            penalties: penalties(&config.sftp.penalties)?,
            drain: DRAIN,
            ..flotilla_ssh::Limits::default()
        },
        engine: flotilla_sftp::Config::default(),
    })
}
