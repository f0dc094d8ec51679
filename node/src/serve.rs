//! `flotilla serve`: wires one node together and runs it until SIGTERM.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flotilla_api::{ApiServer, Service};
use flotilla_cluster::Cluster;
use flotilla_model::{NodeId, StorageName};
use flotilla_raft::Handle;
use flotilla_session::{Core, CoreConfig, EndReason};
use flotilla_ssh::SshServer;
use flotilla_vfs::Storage;
use tokio_util::sync::CancellationToken;

use crate::bootstrap::{Bootstrap, HOST_KEYS, parse_host_keys};
use crate::config::{Config, ConfigArgs, Durability, LogEngine, PenaltiesSection, ProxyProtocol};
use crate::desk::NodeDesk;
use crate::identity::{Identity, Member};
use crate::readiness::NodeReadiness;
use crate::reload::{Reloader, Running};
use crate::secrets::Keyring;
use crate::telemetry::Logs;
use crate::{admin_tls, gauges, notify, telemetry, upkeep, watchdog};

/// Of administration without a token, in the data folder.
pub const LOCAL_SOCKET: &str = "admin.sock";
/// When transfers have ended or were cut: for sessions to give back their slots, for leadership to move, for the last answers.
const LEAVE: Duration = Duration::from_secs(4);
/// How long a login may take that had begun when a drain began. Shorter than `LEAVE`.
const LATE_LOGINS: Duration = Duration::from_secs(2);
/// All of a stop but its transfers, with room to spare.
const STOP: Duration = Duration::from_secs(30);
/// Members that do not answer in this time are taken to be away.
const FETCH_WITHIN: Duration = Duration::from_secs(2);

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
    // One for the whole life: none that comes between two waits is lost.
    let stop = Stop::new()?;
    let config = arguments.config.load()?.config;
    let logs = Logs::init(&config.log)?;
    let metrics = telemetry::init_metrics()?;
    let drain = CancellationToken::new();
    let outcome = serve(&arguments, config, (logs, hangup, stop), metrics, drain).await;
    concluded(outcome)
}

fn concluded(outcome: Result<()>) -> Result<()> {
    match outcome {
        // Who asked for the end gets it: no failure of the service.
        Err(error) if error.is::<Stopped>() => {
            tracing::info!(sender = "node", "{error}");
            Ok(())
        }
        Err(error) => {
            tracing::error!(sender = "node", error = format!("{error:#}"), "ended");
            Err(error)
        }
        Ok(()) => Ok(()),
    }
}

async fn serve(
    arguments: &ServeArgs,
    config: Config,
    (logs, hangup, mut stop): (Logs, tokio::signal::unix::Signal, Stop),
    metrics: metrics_exporter_prometheus::PrometheusHandle,
    drain: CancellationToken,
) -> Result<()> {
    crate::addresses::check(&config)?;
    crate::descriptors::raise(config.sftp.max_connections as u64);
    let identity = Arc::new(Identity::open(&config.node.data)?);
    check_pins(&config, &identity.member)?;
    let keyring = Arc::new(identity.keyring()?);
    let storages = stop.ends(open_storages(&config)).await?;
    let raft_config = raft_config(&config, &identity)?;
    let (raft, handle) = flotilla_raft::RaftNode::start(raft_config).await.context("starting consensus")?;
    let cluster: Arc<dyn Cluster> = Arc::new(handle.clone());
    let desk = Arc::new(NodeDesk {
        handle: handle.clone(),
        identity: Arc::clone(&identity),
        keyring: Arc::clone(&keyring),
        certificate_life: Duration::from_secs(config.peers.certificate_hours * 3_600),
        ca_fingerprint: flotilla_raft::pki::fingerprint(&identity.ca_pem)?,
    });
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
    let api = api_server(&config, &cluster, Arc::clone(&desk), readiness, metrics, tls.clone()).await?;
    let mut api = tokio::spawn(api.run(stop_api.clone()));
    watchdog::start(tokio::runtime::Handle::current(), handle.clone(), drain.clone())?;
    notify::status("waiting for the cluster");
    stop.ends(Bootstrap::once(&identity.bootstrap_file(), &cluster)).await?;
    handle.set_desk(Arc::clone(&desk) as _);
    let host_keys = stop.ends(wait_host_keys(&handle, &keyring, &identity.member.cluster_id)).await?;
    let host_keys = parse_host_keys(&host_keys)?;
    let running = Arc::new(Running::new(config.clone()));
    let upkeep = tokio::spawn(upkeep::run(desk, Arc::clone(&running), tls.clone()));
    let ssh = SshServer::bind(ssh_config(&config, host_keys)?, Arc::clone(&core), Arc::clone(&cluster))?;
    let reloader = Reloader { arguments: arguments.config.clone(), running, logs, ssh: ssh.handle(), tls };
    tokio::spawn(reloader.run(hangup));
    let host_keys =
        tokio::spawn(follow_host_keys(handle.clone(), keyring, identity.member.cluster_id.clone(), ssh.handle()));
    let mut ssh = tokio::spawn(ssh.run(drain.clone()));
    serving.store(true, Ordering::Release);
    tracing::info!(sender = "node", node = identity.member.node, version = env!("CARGO_PKG_VERSION"), "serving");
    notify::ready();
    let mut failure = handle.failure();
    let mut drain_asked = handle.drain_asked();
    let signals = tokio::select! {
        () = stop.asked() => 1,
        _ = drain_asked.wait_for(|asked| *asked) => 0,
        ended = &mut ssh => bail!("the SFTP listener ended: {ended:?}"),
        ended = &mut api => bail!("the admin listener ended: {ended:?}"),
        Ok(why) = failure.wait_for(Option::is_some) => {
            bail!("consensus has stopped: {}", why.as_deref().unwrap_or("for an unknown reason"));
        }
    };
    tracing::info!(sender = "node", node = identity.member.node, "draining");
    let transfers = drain_time(&config);
    notify::stopping(transfers + STOP);
    draining.store(true, Ordering::Release);
    drain.cancel();
    let quiet = async {
        // A balancer sent them before it could know: who is connected already may still log in.
        if tokio::time::timeout(LATE_LOGINS, &mut ssh).await.is_err() {
            core.drain();
            let _ = tokio::time::timeout(transfers + LEAVE - LATE_LOGINS, &mut ssh).await;
        }
    };
    tokio::select! {
        () = quiet => {}
        () = second(signals, async || stop.asked().await) => {
            tracing::warn!(sender = "node", "asked again to stop: transfers are cut");
        }
    }
    core.end_sessions(EndReason::Drained, LEAVE).await;
    upkeep.abort();
    host_keys.abort();
    // Handed over, so that logins elsewhere wait for no election.
    if !handle.transfer_leadership(LEAVE).await && handle.status().voters.len() > 1 {
        tracing::warn!(sender = "node", "leadership could not be handed over: the others elect a leader");
    }
    stop_api.cancel();
    let _ = tokio::time::timeout(LEAVE, api).await;
    raft.shutdown().await;
    tracing::info!(sender = "node", node = identity.member.node, "drained");
    Ok(())
}

fn drain_time(config: &Config) -> Duration {
    Duration::from_secs(u64::from(config.sftp.drain_seconds))
}

/// `cluster recover`: a survivor becomes a cluster of one.
pub async fn recover(config: &std::path::Path) -> Result<flotilla_raft::Recovered> {
    let config = ConfigArgs::of(config).load()?.config;
    let identity = Identity::open(&config.node.data)?;
    check_pins(&config, &identity.member)?;
    Ok(flotilla_raft::recover(&raft_config(&config, &identity)?).await?)
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
async fn wait_host_keys(handle: &Handle, keyring: &Keyring, cluster_id: &str) -> Result<Vec<u8>> {
    let mut applied = handle.applied();
    loop {
        if let Some(keys) = open_secret(handle, keyring, cluster_id, HOST_KEYS).await? {
            return Ok(keys);
        }
        applied.changed().await.context("consensus ended")?;
    }
}

/// New host keys in the log are shown from the next connection on.
async fn follow_host_keys(handle: Handle, keyring: Arc<Keyring>, cluster_id: String, ssh: flotilla_ssh::Handle) {
    let mut applied = handle.applied();
    let mut shown = handle.state().secret(HOST_KEYS).map(|secret| secret.revision);
    while applied.changed().await.is_ok() {
        let revision = handle.state().secret(HOST_KEYS).map(|secret| secret.revision);
        if revision == shown {
            continue;
        }
        let opened = open_secret(&handle, &keyring, &cluster_id, HOST_KEYS).await;
        match opened.and_then(|keys| keys.map(|keys| parse_host_keys(&keys)).transpose()) {
            Ok(Some(keys)) => {
                ssh.replace_host_keys(&keys);
                shown = revision;
                tracing::info!(sender = "node", "host keys replaced");
            }
            Ok(None) => {}
            Err(error) => tracing::error!(sender = "node", error = format!("{error:#}"), "host keys cannot be read"),
        }
    }
}

/// A secret of the log; none while there is none, or while the log that is being applied again holds an older one.
/// A key that came into use while this node was away is fetched from the other members.
async fn open_secret(handle: &Handle, keyring: &Keyring, cluster_id: &str, name: &str) -> Result<Option<Vec<u8>>> {
    let Some(secret) = handle.state().secret(name).cloned() else { return Ok(None) };
    if let Ok(plain) = keyring.open(cluster_id, name, &secret.sealed) {
        return Ok(Some(plain));
    }
    if !handle.status().caught_up {
        return Ok(None);
    }
    for keys in handle.fetch_keys(FETCH_WITHIN).await {
        keys.lines().try_for_each(|key| keyring.add(key))?;
    }
    keyring.open(cluster_id, name, &secret.sealed).map(Some).context(
        "no other member that can be reached has the cluster key either; \
         if this node's cluster.key was damaged, remove the node and join anew",
    )
}

/// What the configuration says of the node must be what its data folder is.
fn check_pins(config: &Config, member: &Member) -> Result<()> {
    let data = config.node.data.display();
    if let Some(cluster) = config.peers.cluster_id.as_ref().filter(|cluster| **cluster != member.cluster_id) {
        bail!(
            "peers.cluster_id = {cluster}, but the data folder {data} belongs to cluster {}: \
             give the right folder, or the right cluster",
            member.cluster_id
        );
    }
    if let Some(id) = config.node.id.filter(|id| *id != member.node) {
        bail!("node.id = {id}, but the data folder {data} is that of node {}", member.node);
    }
    Ok(())
}

/// Until a second signal comes: the first one asks for a drain, also where an administrator has asked for it already.
async fn second(signals: u32, mut asked: impl AsyncFnMut()) {
    for before in signals..2 {
        asked().await;
        if before == 0 {
            tracing::info!(sender = "node", "asked to stop: it drains already, and another signal cuts its transfers");
        }
    }
}

/// It was asked to end while it started.
#[derive(Debug)]
struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped before the node served")
    }
}

impl std::error::Error for Stopped {}

/// SIGTERM and SIGINT since this was made: one that comes while nobody waits is met by the next wait.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> std::io::Result<Stop> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Stop { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Ends a step of the start.
    async fn ends<T>(&mut self, step: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = step => done,
            () = self.asked() => Err(Stopped.into()),
        }
    }
}

fn routes(config: &Config) -> std::collections::BTreeMap<NodeId, String> {
    let route = |(id, address): (&String, &String)| Some((NodeId(id.parse().ok()?), address.clone()));
    config.peers.routes.iter().filter_map(route).collect()
}

pub fn raft_config(config: &Config, identity: &Identity) -> Result<flotilla_raft::Config> {
    let member = &identity.member;
    let id = NodeId(member.node);
    let data = config.node.data.clone();
    let mut raft = flotilla_raft::Config::new(id, &member.cluster_id, data, config.peers.listen);
    if member.founder {
        let own = upkeep::addresses(config);
        let public_key = flotilla_raft::pki::public_key(&identity.key_pem)?;
        let (name, peer, admin, sftp) = (own.name, own.peer_address, own.admin_address, own.sftp_address);
        raft.peers.insert(id, flotilla_raft::PeerAddress { name, peer, admin, sftp, public_key });
    }
    let routes = routes(config);
    raft.route = Arc::new(move |node, address| routes.get(&node).map_or(address, String::as_str).to_owned());
    raft.bootstrap = member.founder;
    raft.roster = member.roster.clone();
    raft.voucher = member.voucher.clone();
    raft.ca_pem = identity.ca_pem.clone();
    raft.certificate_pem = identity.certificate_pem.clone();
    raft.key_pem = identity.key_pem.clone();
    raft.version = env!("CARGO_PKG_VERSION").to_owned();
    raft.store = match config.raft.store {
        LogEngine::Sled => flotilla_raft::StoreChoice::Sled,
        LogEngine::Redb => flotilla_raft::StoreChoice::Redb,
    };
    raft.snapshot_entries = config.raft.snapshot_entries;
    raft.snapshot_bytes = config.raft.snapshot_bytes;
    raft.keep_entries = config.raft.keep_entries;
    Ok(raft)
}

async fn api_server(
    config: &Config,
    cluster: &Arc<dyn Cluster>,
    desk: Arc<NodeDesk>,
    readiness: Arc<NodeReadiness>,
    metrics: metrics_exporter_prometheus::PrometheusHandle,
    tls: Option<Arc<flotilla_api::Tls>>,
) -> Result<ApiServer> {
    let storages: Result<Vec<_>, _> = config
        .storage
        .iter()
        .map(|section| StorageName::parse(&section.name).map(|name| (name, section.path.clone())))
        .collect();
    let service = Arc::new(Service::new(Arc::clone(cluster), storages?).with_vault(desk));
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
            drain: drain_time(config),
            ..flotilla_ssh::Limits::default()
        },
        engine: flotilla_sftp::Config::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stops_a_node_gives_it_the_time_that_its_drain_takes() {
        let within = crate::config::SftpSection::default().drain_seconds + STOP.as_secs() as u32;
        let files = [
            ("systemd/flotilla.service", "TimeoutStopSec=", ""),
            ("docker/compose.yaml", "stop_grace_period: ", "s"),
            ("helm/flotilla/values.yaml", "terminationGracePeriodSeconds: ", ""),
        ];
        for (file, key, unit) in files {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file);
            let text = std::fs::read_to_string(&path).expect(file);
            let line = format!("{key}{within}{unit}");
            assert!(text.lines().any(|found| found.trim() == line), "{file}: {line}");
        }
    }

    #[tokio::test]
    async fn a_first_signal_behind_an_administrators_drain_cuts_nothing() {
        for (before, needed) in [(0, 2), (1, 1)] {
            let mut seen = 0;
            second(before, async || seen += 1).await;
            assert_eq!(seen, needed, "{before} signals had come");
        }
    }

    #[tokio::test]
    async fn a_stop_between_two_waits_is_met_by_the_next() {
        let mut stop = Stop::new().expect("signals");
        stop.ends(async { Ok(()) }).await.expect("nobody has asked yet");
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).expect("sent");
        let waited = stop.ends(std::future::pending::<Result<()>>()).await;
        let stopped = waited.expect_err("stopped");
        assert!(stopped.to_string().contains("stopped before"));
        concluded(Err(stopped)).expect("who was asked to end and did has not failed");
        concluded(Err(anyhow::anyhow!("no disk"))).expect_err("any other reason is a failure");
    }
}
