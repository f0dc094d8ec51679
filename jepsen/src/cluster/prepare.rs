//! Folders and configuration of a cluster: made by `flotilla dev`, then given the lab's addresses.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::Options;
use crate::net::bridge::{ip, port};
use crate::net::{Network, Place, Plane, wire};

const READY: Duration = Duration::from_secs(90);

/// What `dev` made.
pub struct Prepared {
    pub token: String,
    offset: u16,
}

impl Prepared {
    /// Where a node's listener stands after `dev`; the admin listener stays there.
    pub fn listener(&self, plane: Plane, node: Place) -> SocketAddr {
        let port = match plane {
            Plane::Clients => 2021 + node as u16,
            Plane::Peers => 7982 + 100 * node as u16,
            Plane::Admin => 7980 + 100 * node as u16,
        };
        SocketAddr::from(([127, 0, 0, 1], port + self.offset))
    }
}

/// Runs `dev` until it is ready, so that identities, certificates and the first records exist, and ends it.
pub async fn prepare(options: &Options, folder: &Path) -> Result<Prepared> {
    let offset = if options.namespaces { 0 } else { options.port_offset };
    let mut dev = Command::new(&options.binary)
        .args(["dev", "--nodes", &options.nodes.to_string(), "--port-offset", &offset.to_string(), "--dir"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(options.folder.join("dev.stderr"))?)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {} dev", options.binary.display()))?;
    let mut lines = BufReader::new(dev.stdout.take().context("a pipe was asked for")?).lines();
    let ready = async {
        while let Some(line) = lines.next_line().await? {
            if line == "ready" {
                return anyhow::Ok(());
            }
        }
        bail!("dev ended: {}", std::fs::read_to_string(options.folder.join("dev.stderr")).unwrap_or_default())
    };
    tokio::time::timeout(READY, ready).await.context("dev did not become ready")??;
    let pid =
        dev.id().and_then(|pid| rustix::process::Pid::from_raw(pid as i32)).context("dev was running just now")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    let ended = tokio::time::timeout(READY, dev.wait()).await.context("dev did not end")??;
    ensure!(ended.success(), "dev was asked to end and ended with {ended}: its nodes may still be there");
    let token = std::fs::read_to_string(folder.join("admin.token"))?.trim().to_owned();
    Ok(Prepared { token, offset })
}

/// The machine's configuration names no node any more, so that it can join as another; its data folder.
pub fn forget_identity(file: &Path) -> Result<std::path::PathBuf> {
    let mut config: toml::Table = std::fs::read_to_string(file)?.parse()?;
    let node = config["node"].as_table_mut().context("node")?;
    node.remove("id");
    let data = node["data"].as_str().context("node.data")?.into();
    std::fs::write(file, toml::to_string(&config)?)?;
    Ok(data)
}

/// Gives each node the lab's addresses: its own listeners, and its own way to each peer.
pub fn rewrite(options: &Options, folder: &Path, network: &Network) -> Result<()> {
    for node in 1..=options.nodes {
        let file = folder.join(format!("node{node}/flotilla.toml"));
        let mut config: toml::Table = std::fs::read_to_string(&file)?.parse()?;
        let peers = config["peers"].as_table_mut().context("peers")?;
        if options.namespaces {
            peers.insert("listen".into(), SocketAddr::from((ip(node), port(Plane::Peers))).to_string().into());
        }
        let mut routes = toml::Table::new();
        for other in (1..=options.nodes).filter(|other| *other != node) {
            let door = match network {
                Network::Bridge(_) if options.wires => wire::door(other),
                Network::Bridge(_) => SocketAddr::from((ip(other), port(Plane::Peers))),
                Network::Switch(switch) => switch.peer_door(node, other),
            };
            routes.insert(other.to_string(), door.to_string().into());
        }
        peers.insert("routes".into(), routes.into());
        if let Some(entries) = options.snapshot_entries {
            let raft = config["raft"].as_table_mut().context("raft")?;
            raft.insert("snapshot_entries".into(), (entries as i64).into());
            raft.insert("keep_entries".into(), (entries as i64 / 4).into());
        }
        // All clients come from one address, and some give wrong passwords on purpose: who is refused for that is another's test.
        let sftp = config["sftp"].as_table_mut().context("sftp")?;
        let penalties = sftp.entry("penalties").or_insert_with(|| toml::Table::new().into());
        let exempt = vec![toml::Value::from(format!("{}/32", ip(0))), "127.0.0.0/8".into()];
        penalties.as_table_mut().context("sftp.penalties")?.insert("exempt".into(), exempt.into());
        if options.namespaces {
            let listen = config["sftp"]["listen"].as_array_mut().and_then(|all| all.first_mut());
            let listen = listen.and_then(toml::Value::as_table_mut).context("sftp.listen")?;
            listen.insert("address".into(), SocketAddr::from((ip(node), port(Plane::Clients))).to_string().into());
        }
        std::fs::write(&file, toml::to_string(&config)?)?;
    }
    Ok(())
}
