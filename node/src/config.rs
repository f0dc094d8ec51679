//! Configuration: defaults < file < `conf.d/*.toml` beside it < `FLOTILLA_SECTION__KEY` < flags. Unknown keys are refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// Everything a node reads at start.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub node: NodeSection,
    pub peers: PeersSection,
    #[serde(default)]
    pub sftp: SftpSection,
    #[serde(default)]
    pub admin: AdminSection,
    #[serde(default)]
    pub health: HealthSection,
    #[serde(default)]
    pub log: LogSection,
    /// At least one; a user without `home_dir` lives under the first.
    #[serde(default)]
    pub storage: Vec<StorageSection>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSection {
    /// Node ids are numbered from 1 and never reused.
    pub id: u64,
    #[serde(default)]
    pub name: String,
    /// Raft log, snapshots, store identity. One process per folder.
    pub data: PathBuf,
    /// 64 hexadecimal digits in a file with mode 0600: opens the sealed secrets in the log.
    pub cluster_key_file: PathBuf,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeersSection {
    pub cluster_id: String,
    pub listen: SocketAddr,
    /// PEM files of the cluster's CA and this node's certificate and key.
    pub ca_file: PathBuf,
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
    /// Node id to `address:port`, this node included.
    pub members: BTreeMap<String, MemberSection>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberSection {
    pub name: String,
    pub peer: String,
    pub admin: String,
    pub sftp: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SftpSection {
    pub listen: Vec<SftpListen>,
    /// Peers from which a PROXY header is believed; CIDR or addresses.
    pub trusted_proxies: Vec<String>,
    pub login_grace_seconds: u64,
    pub max_connections: usize,
    /// `close`: CLOSE is answered when the bytes are on disk. `none`: as OpenSSH does.
    pub durability: Durability,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    Close,
    None,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftpListen {
    pub address: SocketAddr,
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    #[default]
    Off,
    Required,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminSection {
    /// REST, gRPC, metrics and health on one listener. Loopback only until TLS is configured.
    pub listen: SocketAddr,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthSection {
    /// A plain listener with `/livez` and `/readyz` only, for load balancers.
    pub listen: Option<SocketAddr>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// `error`, `warn`, `info`, `debug`, or a tracing filter.
    pub level: String,
    /// A file to append JSON lines to; standard error if absent.
    pub file: Option<PathBuf>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
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
            durability: Durability::Close,
        }
    }
}

impl Default for AdminSection {
    fn default() -> Self {
        AdminSection { listen: SocketAddr::from(([127, 0, 0, 1], 8080)) }
    }
}

impl Default for LogSection {
    fn default() -> Self {
        LogSection { level: "info".into(), file: None }
    }
}

impl Config {
    /// Reads the file, its `conf.d`, and the environment, in this order.
    pub fn load(file: &Path) -> Result<Config> {
        let environment = std::env::vars().filter(|(name, _)| name.starts_with("FLOTILLA_") && name.contains("__"));
        Config::load_with(file, environment)
    }

    fn load_with(file: &Path, environment: impl Iterator<Item = (String, String)>) -> Result<Config> {
        let mut table = read_table(file)?;
        for extra in conf_d(file)? {
            merge(&mut table, read_table(&extra)?);
        }
        for (name, value) in environment {
            overlay(&mut table, &name, &value)?;
        }
        let text = toml::to_string(&table).context("writing the merged configuration")?;
        let config: Config =
            toml::from_str(&text).map_err(|error| anyhow::anyhow!("{}: {}", file.display(), error.message()))?;
        config.check().with_context(|| file.display().to_string())?;
        Ok(config)
    }

    /// What types cannot say.
    fn check(&self) -> Result<()> {
        ensure!(self.node.id > 0, "node.id must be at least 1");
        ensure!(
            self.peers.members.contains_key(&self.node.id.to_string()),
            "peers.members has no entry for this node ({})",
            self.node.id
        );
        for id in self.peers.members.keys() {
            ensure!(id.parse::<u64>().is_ok_and(|id| id > 0), "peers.members: {id:?} is not a node id");
        }
        ensure!(!self.storage.is_empty(), "no [[storage]]: name at least one folder for files");
        let mut names = std::collections::BTreeSet::new();
        for storage in &self.storage {
            flotilla_model::StorageName::parse(&storage.name)?;
            ensure!(names.insert(&storage.name), "storage {:?} is configured twice", storage.name);
            ensure!(storage.path.is_absolute(), "storage {:?}: path must be absolute", storage.name);
        }
        ensure!(
            self.admin.listen.ip().is_loopback(),
            "admin.listen = {}: anything but loopback needs TLS, which this version does not serve yet",
            self.admin.listen
        );
        Ok(())
    }
}

fn read_table(file: &Path) -> Result<toml::Table> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    text.parse::<toml::Table>().with_context(|| format!("{} is not valid TOML", file.display()))
}

/// `conf.d/*.toml` beside the file, in order of name.
fn conf_d(file: &Path) -> Result<Vec<PathBuf>> {
    let folder = file.parent().unwrap_or(Path::new(".")).join("conf.d");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn merge(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(into)), toml::Value::Table(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// `FLOTILLA_LOG__LEVEL=debug` sets `log.level`. Values are TOML where they parse as such, text otherwise.
fn overlay(table: &mut toml::Table, name: &str, value: &str) -> Result<()> {
    let path: Vec<String> = name["FLOTILLA_".len()..].split("__").map(str::to_lowercase).collect();
    let Some((last, sections)) = path.split_last().filter(|(_, sections)| !sections.is_empty()) else {
        bail!("{name}: expected FLOTILLA_SECTION__KEY");
    };
    let mut here = table;
    for section in sections {
        here = here
            .entry(section.clone())
            .or_insert_with(|| toml::Value::Table(toml::Table::new()))
            .as_table_mut()
            .with_context(|| format!("{name}: {section} is not a section"))?;
    }
    let parsed = format!("value = {value}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("value"));
    here.insert(last.clone(), parsed.unwrap_or_else(|| toml::Value::String(value.to_owned())));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"
        [node]
        id = 1
        data = "/var/lib/flotilla"
        cluster_key_file = "/etc/flotilla/cluster.key"
        [peers]
        cluster_id = "c"
        listen = "127.0.0.1:8082"
        ca_file = "ca.pem"
        certificate_file = "node.pem"
        key_file = "node.key"
        [peers.members.1]
        name = "node1"
        peer = "127.0.0.1:8082"
        admin = "127.0.0.1:8080"
        sftp = "127.0.0.1:2022"
        [[storage]]
        name = "files"
        path = "/srv/files"
    "#;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("flotilla.toml");
        std::fs::write(&file, text)?;
        Config::load_with(&file, environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn minimal_file_is_enough() {
        let config = load(MINIMAL, &[]).unwrap();
        assert_eq!(config.sftp.durability, Durability::Close);
        assert_eq!(config.admin.listen.port(), 8080);
    }

    #[test]
    fn unknown_key_is_refused_by_name() {
        let error = load(&MINIMAL.replace("id = 1", "id = 1\nidd = 2"), &[]).unwrap_err();
        assert!(format!("{error:#}").contains("idd"), "{error:#}");
    }

    #[test]
    fn bad_address_is_refused_by_key() {
        let error = load(&MINIMAL.replace("\"127.0.0.1:8082\"\n        ca_file", "\"nowhere\"\n        ca_file"), &[]);
        assert!(format!("{:#}", error.unwrap_err()).contains("address"));
    }

    #[test]
    fn environment_wins_over_the_file() {
        let config = load(MINIMAL, &[("FLOTILLA_LOG__LEVEL", "debug"), ("FLOTILLA_NODE__ID", "1")]).unwrap();
        assert_eq!(config.log.level, "debug");
    }

    #[test]
    fn unknown_environment_key_is_refused() {
        assert!(load(MINIMAL, &[("FLOTILLA_LOG__LEVLE", "debug")]).is_err());
    }

    #[test]
    fn admin_beyond_loopback_is_refused_without_tls() {
        let text = format!("{MINIMAL}\n[admin]\nlisten = \"0.0.0.0:8080\"");
        assert!(format!("{:#}", load(&text, &[]).unwrap_err()).contains("TLS"));
    }

    #[test]
    fn missing_storage_is_refused() {
        let text = MINIMAL.split("[[storage]]").next().unwrap();
        assert!(format!("{:#}", load(text, &[]).unwrap_err()).contains("storage"));
    }
}
