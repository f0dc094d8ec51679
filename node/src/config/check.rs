//! What types cannot say of a configuration: values first, then the files that they name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use super::problem::Problem;
use super::{AdminTlsSection, Config, Layers, ProxyProtocol, secret_file};

/// Seconds; what systemd can be asked for in one message is a little more.
const LONGEST_DRAIN: u32 = 3_600;

/// Collects mistakes under the place of their key.
struct Found<'a> {
    layers: &'a Layers,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn note(&mut self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        let (what, remedy) = (what.into(), remedy.into());
        self.problems.push(Problem { origin: self.layers.origin(key), key: key.to_owned(), what, remedy });
    }
}

/// What can be said without looking at any other file.
pub fn values(config: &Config, layers: &Layers) -> Vec<Problem> {
    let mut found = Found { layers, problems: Vec::new() };
    peers(config, &mut found);
    storages(config, &mut found);
    sftp(config, &mut found);
    admin(config, &mut found);
    addresses(config, &mut found);
    for (key, value) in [("entries", config.raft.snapshot_entries), ("bytes", config.raft.snapshot_bytes)] {
        if value == 0 {
            found.note(&format!("raft.snapshot_{key}"), "0 asks for no end of snapshots", "give at least 1");
        }
    }
    let level = &config.log.level;
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(level) {
        found.note("log.level", format!("{level:?}: {error}"), "give error, warn, info, debug, or a tracing filter");
    }
    found.problems
}

fn peers(config: &Config, found: &mut Found<'_>) {
    if config.node.id == Some(0) {
        found.note("node.id", "0 is no node id", "leave it out, or give the number that the data folder has");
    }
    let peers = &config.peers;
    if peers.advertise.is_none() && peers.listen.ip().is_unspecified() {
        let what = format!("{} is no address that other nodes can reach", peers.listen);
        found.note("peers.listen", what, "say where they reach this one: peers.advertise = \"host:port\"");
    }
    if peers.certificate_hours == 0 {
        found.note("peers.certificate_hours", "0 leaves no time to use it", "give some hours; 720 is usual");
    }
    for id in peers.routes.keys() {
        if !id.parse::<u64>().is_ok_and(|id| id > 0) {
            found.note(&format!("peers.routes.{id}"), "not a node id", "number nodes from 1");
        }
    }
}

fn storages(config: &Config, found: &mut Found<'_>) {
    if config.storage.is_empty() {
        found.note("storage", "no [[storage]]", "name at least one folder for files");
    }
    let mut names = BTreeSet::new();
    for (number, storage) in config.storage.iter().enumerate() {
        let key = |name: &str| format!("storage[{number}].{name}");
        if let Err(error) = flotilla_model::StorageName::parse(&storage.name) {
            found.note(&key("name"), error.to_string(), "use lower-case letters, digits, - and _");
        }
        if !names.insert(&storage.name) {
            found.note(
                &key("name"),
                format!("{:?} is configured twice", storage.name),
                "give each storage its own name",
            );
        }
        if !storage.path.is_absolute() {
            let path = storage.path.display();
            found.note(&key("path"), format!("{path} is not absolute"), "begin it with /");
        }
    }
}

fn sftp(config: &Config, found: &mut Found<'_>) {
    let ranges = [
        ("sftp.trusted_proxies", &config.sftp.trusted_proxies),
        ("sftp.penalties.exempt", &config.sftp.penalties.exempt),
    ];
    for (key, texts) in ranges {
        for (number, text) in texts.iter().enumerate() {
            if let Err(error) = text.parse::<flotilla_ssh::Cidr>() {
                let remedy = "give an address or a network like 192.0.2.0/24";
                found.note(&format!("{key}[{number}]"), format!("{text:?}: {error}"), remedy);
            }
        }
    }
    let required = |listen: &super::SftpListen| listen.proxy_protocol == ProxyProtocol::Required;
    if config.sftp.trusted_proxies.is_empty()
        && let Some(number) = config.sftp.listen.iter().position(required)
    {
        found.note(
            &format!("sftp.listen[{number}].proxy_protocol"),
            "\"required\", but no proxy is trusted: every connection would be refused",
            "name the balancers in sftp.trusted_proxies",
        );
    }
    if config.sftp.login_grace_seconds == 0 {
        found.note("sftp.login_grace_seconds", "0 leaves no time to log in", "give some seconds; 30 is usual");
    }
    if config.sftp.drain_seconds > LONGEST_DRAIN {
        let what = format!("{} is over an hour: a stop would seem to hang", config.sftp.drain_seconds);
        found.note("sftp.drain_seconds", what, "give at most 3600; 30 is usual");
    }
    if config.sftp.max_connections == 0 {
        found.note("sftp.max_connections", "0 admits nobody", "give a number; 10000 is usual");
    }
}

fn admin(config: &Config, found: &mut Found<'_>) {
    let Some(tls) = &config.admin.tls else {
        if !config.admin.listen.ip().is_loopback() {
            found.note(
                "admin.listen",
                format!("{} is not loopback, and there is no TLS", config.admin.listen),
                "add [admin.tls] (an empty one serves this node's certificate of the cluster's CA), or listen on 127.0.0.1",
            );
        }
        return;
    };
    let AdminTlsSection { certificate_file, key_file, client_ca_file, require_client_certificate } = tls;
    match (certificate_file, key_file) {
        (Some(_), None) => {
            found.note("admin.tls.key_file", "missing beside certificate_file", "name the certificate's key");
        }
        (None, Some(_)) => {
            found.note("admin.tls.certificate_file", "missing beside key_file", "name the key's certificate chain");
        }
        _ => {}
    }
    if *require_client_certificate && client_ca_file.is_none() {
        found.note("admin.tls.client_ca_file", "missing, so no client certificate could be believed", "name the CAs");
    }
}

/// Two listeners of one node on one port.
fn addresses(config: &Config, found: &mut Found<'_>) {
    let sftp = config.sftp.listen.iter().enumerate();
    let all = sftp
        .map(|(number, listen)| (format!("sftp.listen[{number}].address"), listen.address))
        .chain([("peers.listen".to_owned(), config.peers.listen), ("admin.listen".to_owned(), config.admin.listen)])
        .chain(config.health.listen.map(|address| ("health.listen".to_owned(), address)));
    let mut taken: BTreeMap<SocketAddr, String> = BTreeMap::new();
    for (key, address) in all.filter(|(_, address)| address.port() != 0) {
        if let Some(other) = taken.insert(address, key.clone()) {
            found.note(&key, format!("{address} is {other}, too"), "give each listener its own port");
        }
    }
}

/// What the files say that the configuration names. For `config check` and a reload; at a start each part says it itself.
pub fn files(config: &Config, layers: &Layers) -> Vec<Problem> {
    let mut found = Found { layers, problems: Vec::new() };
    if let Err(error) = crate::identity::Identity::open(&config.node.data) {
        found.note("node.data", format!("{error:#}"), "make it, or name another");
    }
    if let Some(tls) = &config.admin.tls {
        if let Some(file) = &tls.key_file {
            secret("admin.tls.key_file", file, &mut found);
        }
        if let Err(error) = crate::admin_tls::start(config) {
            found.note("admin.tls", format!("{error:#}"), "give PEM files that belong together");
        }
    }
    for (number, storage) in config.storage.iter().enumerate() {
        if !storage.path.is_dir() {
            let what = format!("{} is not a folder", storage.path.display());
            found.note(&format!("storage[{number}].path"), what, "make or mount it");
        }
    }
    found.problems
}

fn secret(key: &str, file: &Path, found: &mut Found<'_>) {
    if let Err(error) = secret_file::check(key, file) {
        found.note(key, format!("{error:#}"), "make the file readable by the service's user alone");
    }
}
