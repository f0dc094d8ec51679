//! Configuration: defaults < file < `conf.d/*.toml` beside it < `FLOTILLA_SECTION__KEY` < flags. Unknown keys are refused.
//! Secrets are only ever named by keys that end with `_file`.

mod check;
pub mod command;
mod layers;
mod problem;
pub mod secret_file;
mod show;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::layers::Layers;
#[cfg(test)]
use self::layers::Origin;
use self::problem::Problems;
pub use self::show::flat;

/// Everything a node reads at start.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub node: NodeSection,
    #[serde(default)]
    pub peers: PeersSection,
    #[serde(default)]
    pub sftp: SftpSection,
    #[serde(default)]
    pub admin: AdminSection,
    #[serde(default)]
    pub health: HealthSection,
    #[serde(default)]
    pub raft: RaftSection,
    #[serde(default)]
    pub log: LogSection,
    /// At least one; a user without `home_dir` lives under the first.
    #[serde(default)]
    pub storage: Vec<StorageSection>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeSection {
    /// If given, the data folder must be that node's. Node ids come from the log and are never reused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    #[serde(default)]
    pub name: String,
    /// Identity, Raft log, snapshots: what `init` or `join` made. One process per folder, on a local file system.
    pub data: PathBuf,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PeersSection {
    /// If given, the data folder must be of that cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    pub listen: SocketAddr,
    /// `host:port` at which the other nodes reach this one; `listen` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// This node's certificate is made anew when a third of this is left.
    pub certificate_hours: u64,
    /// Node id to `host:port`, for nodes that this one reaches elsewhere than where they say.
    pub routes: BTreeMap<String, String>,
}

impl Default for PeersSection {
    fn default() -> Self {
        PeersSection {
            cluster_id: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 8082)),
            advertise: None,
            certificate_hours: 30 * 24,
            routes: BTreeMap::new(),
        }
    }
}

impl PeersSection {
    /// Where the other nodes reach this one.
    pub fn address(&self) -> String {
        self.advertise.clone().unwrap_or_else(|| self.listen.to_string())
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SftpSection {
    pub listen: Vec<SftpListen>,
    /// Peers from which a PROXY header is believed; CIDR or addresses.
    pub trusted_proxies: Vec<String>,
    pub login_grace_seconds: u64,
    pub max_connections: usize,
    /// Of connections without a login: from `startups_begin` on this percentage is dropped, rising to all at `startups_full`.
    pub startups_begin: usize,
    pub startups_percent: u32,
    pub startups_full: usize,
    /// Connections without a login from one address (IPv6: /64).
    pub startups_per_source: usize,
    pub penalties: PenaltiesSection,
    /// `close`: CLOSE is answered when the bytes are on disk. `none`: as OpenSSH does.
    pub durability: Durability,
    /// After SIGTERM or `cluster drain` transfers that run may go on for so long; then they are cut. At most an hour.
    pub drain_seconds: u32,
}

/// Sources whose connections come to nothing are refused for a while, as with OpenSSH's `PerSourcePenalties`. Seconds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PenaltiesSection {
    pub auth_failed_seconds: u64,
    pub no_auth_seconds: u64,
    pub grace_seconds: u64,
    pub crash_seconds: u64,
    /// A source is refused once its penalties come to this much.
    pub min_seconds: u64,
    pub max_seconds: u64,
    /// Sources that are remembered; 0 turns penalties off.
    pub sources: usize,
    /// Addresses or CIDR ranges that are never refused.
    pub exempt: Vec<String>,
}

impl Default for PenaltiesSection {
    fn default() -> Self {
        PenaltiesSection {
            auth_failed_seconds: 5,
            no_auth_seconds: 1,
            grace_seconds: 10,
            crash_seconds: 90,
            min_seconds: 15,
            max_seconds: 600,
            sources: 65_536,
            exempt: vec!["127.0.0.0/8".into(), "::1".into()],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    Close,
    None,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table such as { address = \"0.0.0.0:2022\" }")]
pub struct SftpListen {
    pub address: SocketAddr,
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    #[default]
    Off,
    Required,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminSection {
    /// REST, gRPC, metrics and health on one listener. Anything but loopback needs `[admin.tls]`.
    pub listen: SocketAddr,
    /// TLS for the listener. An empty section serves this node's certificate of the cluster's CA.
    pub tls: Option<AdminTlsSection>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminTlsSection {
    /// PEM chain of a certificate of your own, the node's own first. Goes with `key_file`.
    pub certificate_file: Option<PathBuf>,
    /// PEM private key of that certificate, readable by its owner only.
    pub key_file: Option<PathBuf>,
    /// PEM certificates of the CAs whose client certificates are believed: the subject's common name is the name of the
    /// admin, or else of the token, whose permissions the caller has. Absent: callers show tokens only.
    pub client_ca_file: Option<PathBuf>,
    /// Refuse connections without a client certificate, too.
    pub require_client_certificate: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthSection {
    /// A plain listener with `/livez` and `/readyz` only, for load balancers.
    pub listen: Option<SocketAddr>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RaftSection {
    /// The engine that keeps the log: `sled` or `redb`. A data folder stays with the one that began it.
    pub store: LogEngine,
    /// A snapshot is written, and the log purged, after this many entries since the last one …
    pub snapshot_entries: u64,
    /// … or this many bytes of them.
    pub snapshot_bytes: u64,
    /// Entries kept behind a snapshot for followers that were away; one that missed more gets the snapshot.
    pub keep_entries: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogEngine {
    #[default]
    Sled,
    Redb,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// `error`, `warn`, `info`, `debug`, or a tracing filter.
    pub level: String,
    /// A file to append JSON lines to; standard error if absent.
    pub file: Option<PathBuf>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StorageSection {
    pub name: String,
    pub path: PathBuf,
}

impl Default for SftpSection {
    fn default() -> Self {
        SftpSection {
            listen: Vec::new(),
            trusted_proxies: Vec::new(),
            login_grace_seconds: 30,
            max_connections: 10_000,
            startups_begin: 128,
            startups_percent: 30,
            startups_full: 512,
            startups_per_source: 256,
            penalties: PenaltiesSection::default(),
            durability: Durability::Close,
            drain_seconds: 30,
        }
    }
}

impl Default for AdminSection {
    fn default() -> Self {
        AdminSection { listen: SocketAddr::from(([127, 0, 0, 1], 8080)), tls: None }
    }
}

impl Default for RaftSection {
    fn default() -> Self {
        RaftSection { store: LogEngine::Sled, snapshot_entries: 20_000, snapshot_bytes: 64 << 20, keep_entries: 5_000 }
    }
}

impl Default for LogSection {
    fn default() -> Self {
        LogSection { level: "info".into(), file: None }
    }
}

/// A configuration with where each value came from.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub layers: Layers,
}

/// Where a configuration is read from.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigArgs {
    /// The node's configuration file; `conf.d/*.toml` beside it and FLOTILLA_SECTION__KEY are laid over it.
    #[arg(long)]
    pub config: PathBuf,
    /// Sets a key over everything else, as `log.level=debug`. Can be given several times.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

impl ConfigArgs {
    /// Without flags.
    pub fn of(file: &Path) -> ConfigArgs {
        ConfigArgs { config: file.to_owned(), set: Vec::new() }
    }

    /// Reads all layers, in their order, and checks what can be checked without looking at other files.
    pub fn load(&self) -> Result<Loaded> {
        let environment = std::env::vars().filter(|(name, _)| name.starts_with("FLOTILLA_") && name.contains("__"));
        load(&self.config, environment, &self.set)
    }
}

fn load(file: &Path, environment: impl Iterator<Item = (String, String)>, flags: &[String]) -> Result<Loaded> {
    let mut layers = Layers::default();
    layers.file(file)?;
    for extra in layers::conf_d(file)? {
        layers.file(&extra)?;
    }
    for (name, value) in environment {
        layers.environment(&name, &value)?;
    }
    for flag in flags {
        layers.flag(flag)?;
    }
    let config = parse(&layers)?;
    let problems = check::values(&config, &layers);
    if problems.is_empty() { Ok(Loaded { config, layers }) } else { Err(Problems(problems).into()) }
}

fn parse(layers: &Layers) -> Result<Config> {
    let value = toml::Value::Table(layers.table.clone());
    Ok(serde_path_to_error::deserialize(value)
        .map_err(|error| Problems(vec![problem::of_serde(layers, &error.path().to_string(), error.inner())]))?)
}
