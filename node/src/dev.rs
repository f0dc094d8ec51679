//! `flotilla dev`: a cluster on loopback as child processes of this binary, with a demo user and an admin token.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::bootstrap::{Bootstrap, Demo};
use crate::config::{
    AdminSection, Config, Durability, HealthSection, LogSection, MemberSection, NodeSection, PeersSection, RaftSection,
    SftpListen, SftpSection, StorageSection,
};
use crate::secrets::{ClusterKey, random_text, write_secret};

/// How long the nodes may take to become ready.
const START: Duration = Duration::from_secs(45);

#[derive(clap::Args)]
pub struct DevArgs {
    /// How many nodes (an odd number up to 7).
    #[arg(long, default_value_t = 3)]
    nodes: u16,
    /// Where everything is kept.
    #[arg(long, default_value = "dev-data")]
    dir: PathBuf,
    /// Delete the folder's nodes, secrets and files first.
    #[arg(long)]
    fresh: bool,
    /// Added to every port, to run beside another cluster.
    #[arg(long, default_value_t = 0)]
    port_offset: u16,
    /// `close`: an upload is on disk before its CLOSE is answered; `none`: as OpenSSH does.
    #[arg(long, default_value = "close")]
    durability: String,
    /// Log level of the nodes (`nodeN/node.log`).
    #[arg(long, default_value = "info")]
    log_level: String,
}

struct Ports {
    sftp: u16,
    admin: u16,
    peer: u16,
}

fn ports(node: u16, offset: u16) -> Ports {
    Ports { sftp: 2021 + node + offset, admin: 7980 + 100 * node + offset, peer: 7982 + 100 * node + offset }
}

pub async fn run(arguments: DevArgs) -> Result<()> {
    ensure!((1..=7).contains(&arguments.nodes), "--nodes {}: between 1 and 7", arguments.nodes);
    ensure!(arguments.port_offset <= 50_000, "--port-offset {}: at most 50000", arguments.port_offset);
    let dir = prepare_folder(&arguments)?;
    check_ports(&arguments)?;
    let binary = std::env::current_exe()?;
    let mut children = Vec::new();
    for node in 1..=arguments.nodes {
        children.push(start_node(&binary, &dir, node)?);
    }
    wait_ready(&arguments, &mut children, &dir).await?;
    describe(&arguments, &dir);
    for (number, child) in (1..).zip(&children) {
        let ports = ports(number, arguments.port_offset);
        println!(
            "node {number} pid {} sftp 127.0.0.1:{} admin http://127.0.0.1:{} restart: {} serve --config {}",
            child.id().context("it was running just now")?,
            ports.sftp,
            ports.admin,
            binary.display(),
            node_config(&dir, number).display(),
        );
    }
    println!("ready");
    until_stopped(&mut children).await;
    stop_all(children).await;
    Ok(())
}

fn node_config(dir: &Path, node: u16) -> PathBuf {
    dir.join(format!("node{node}/flotilla.toml"))
}

/// Makes what is missing under the folder; what is there is gone on with.
fn prepare_folder(arguments: &DevArgs) -> Result<PathBuf> {
    if arguments.fresh && arguments.dir.exists() {
        ensure!(
            arguments.dir.join("cluster.id").exists(),
            "--fresh: {} was not made by flotilla dev; nothing was deleted",
            arguments.dir.display()
        );
        std::fs::remove_dir_all(&arguments.dir).with_context(|| format!("deleting {}", arguments.dir.display()))?;
    }
    std::fs::create_dir_all(arguments.dir.join("files"))
        .with_context(|| format!("making {}", arguments.dir.display()))?;
    let dir = std::fs::canonicalize(&arguments.dir)?;
    let id_file = dir.join("cluster.id");
    if !id_file.exists() {
        make_cluster(arguments, &dir)?;
        std::fs::write(&id_file, "")?;
    }
    // Ports, level and durability are this run's; identities are the folder's.
    let cluster_id = std::fs::read_to_string(dir.join("cluster.uuid"))?.trim().to_owned();
    for node in 1..=arguments.nodes {
        ensure!(
            dir.join(format!("node{node}")).is_dir(),
            "{} holds a cluster with fewer nodes than {}: use --fresh to start over",
            dir.display(),
            arguments.nodes
        );
        let text = toml::to_string(&config(arguments, &dir, node, &cluster_id)?)?;
        std::fs::write(node_config(&dir, node), text)?;
    }
    ensure!(
        !dir.join(format!("node{}", arguments.nodes + 1)).exists(),
        "{} holds a cluster with more nodes than {}: give their number, or --fresh to start over",
        dir.display(),
        arguments.nodes
    );
    Ok(dir)
}

/// Certificates, keys and secrets of a new cluster.
fn make_cluster(arguments: &DevArgs, dir: &Path) -> Result<()> {
    let cluster_id = uuid::Uuid::new_v4().to_string();
    std::fs::write(dir.join("cluster.uuid"), &cluster_id)?;
    let authority = flotilla_raft::pki::make_ca(&cluster_id)?;
    let cluster_key = dir.join("cluster.key");
    ClusterKey::create(&cluster_key)?;
    for node in 1..=arguments.nodes {
        let folder = dir.join(format!("node{node}"));
        std::fs::create_dir_all(&folder)?;
        let identity = flotilla_raft::pki::make_node(&authority, &cluster_id, u64::from(node))?;
        std::fs::write(folder.join("ca.pem"), &authority.certificate_pem)?;
        std::fs::write(folder.join("node.pem"), &identity.certificate_pem)?;
        write_secret(&folder.join("node.key"), identity.key_pem.as_bytes())?;
        let key = std::fs::read(&cluster_key)?;
        write_secret(&folder.join("cluster.key"), &key)?;
    }
    let token = random_text(40);
    write_secret(&dir.join("admin.token"), token.as_bytes())?;
    let password = random_text(20);
    write_secret(&dir.join("demo.password"), password.as_bytes())?;
    let user_key = flotilla_ssh::generate_host_keys()?;
    let private = user_key.export()?;
    let private = private.first().context("an ed25519 key was just made")?;
    write_secret(&dir.join("demo.key"), private.pem.expose())?;
    let public_key = user_key.public_lines().into_iter().next().context("an ed25519 key was just made")?;
    let bootstrap = Bootstrap {
        token_name: "dev".into(),
        token_sha256: Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect(),
        demo: Some(Demo {
            username: "demo".into(),
            password_hash: flotilla_auth::hash_password(password.as_bytes())?,
            public_key,
            storage: "files".into(),
        }),
    };
    write_secret(&dir.join("node1/bootstrap.json"), serde_json::to_string_pretty(&bootstrap)?.as_bytes())
}

fn config(arguments: &DevArgs, dir: &Path, node: u16, cluster_id: &str) -> Result<Config> {
    let folder = dir.join(format!("node{node}"));
    let own = ports(node, arguments.port_offset);
    let local = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let members: BTreeMap<String, MemberSection> = (1..=arguments.nodes)
        .map(|id| {
            let ports = ports(id, arguments.port_offset);
            let member = MemberSection {
                name: format!("node{id}"),
                peer: local(ports.peer).to_string(),
                admin: local(ports.admin).to_string(),
                sftp: local(ports.sftp).to_string(),
            };
            (id.to_string(), member)
        })
        .collect();
    Ok(Config {
        node: NodeSection {
            id: u64::from(node),
            name: format!("node{node}"),
            data: folder.join("data"),
            cluster_key_file: folder.join("cluster.key"),
        },
        peers: PeersSection {
            cluster_id: cluster_id.to_owned(),
            listen: local(own.peer),
            ca_file: folder.join("ca.pem"),
            certificate_file: folder.join("node.pem"),
            key_file: folder.join("node.key"),
            members,
        },
        sftp: SftpSection {
            listen: vec![SftpListen { address: local(own.sftp), proxy_protocol: Default::default() }],
            durability: match arguments.durability.as_str() {
                "close" => Durability::Close,
                "none" => Durability::None,
                other => bail!("--durability {other}: `close` or `none`"),
            },
            ..SftpSection::default()
        },
        admin: AdminSection { listen: local(own.admin), tls: None },
        health: HealthSection::default(),
        raft: RaftSection::default(),
        log: LogSection { level: arguments.log_level.clone(), file: Some(folder.join("node.log")) },
        storage: vec![StorageSection { name: "files".into(), path: dir.join("files") }],
    })
}

/// An occupied port is named before anything is started.
fn check_ports(arguments: &DevArgs) -> Result<()> {
    for node in 1..=arguments.nodes {
        let ports = ports(node, arguments.port_offset);
        for (what, port) in [("SFTP", ports.sftp), ("admin", ports.admin), ("peer", ports.peer)] {
            std::net::TcpListener::bind(("127.0.0.1", port)).with_context(|| {
                format!("node {node}: {what} port {port} is occupied (another cluster? --port-offset)")
            })?;
        }
    }
    Ok(())
}

fn start_node(binary: &Path, dir: &Path, node: u16) -> Result<Child> {
    let errors =
        std::fs::OpenOptions::new().create(true).append(true).open(dir.join(format!("node{node}/stderr.log")))?;
    Command::new(binary)
        .args(["serve", "--with-parent", "--config"])
        .arg(node_config(dir, node))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn()
        .with_context(|| format!("starting node {node}"))
}

async fn wait_ready(arguments: &DevArgs, children: &mut [Child], dir: &Path) -> Result<()> {
    let end = tokio::time::Instant::now() + START;
    let mut every = tokio::time::interval(Duration::from_millis(50));
    for (number, child) in (1..).zip(children) {
        let port = ports(number, arguments.port_offset).admin;
        while !is_ready(port).await {
            every.tick().await;
            let folder = dir.join(format!("node{number}"));
            if let Some(status) = child.try_wait()? {
                let errors = std::fs::read_to_string(folder.join("stderr.log")).unwrap_or_default();
                bail!("node {number} ended with {status}:\n{errors}");
            }
            ensure!(
                tokio::time::Instant::now() < end,
                "node {number} is not ready after {START:?}; see {}/node.log",
                folder.display()
            );
        }
    }
    Ok(())
}

/// Whether `/readyz` answers 200.
async fn is_ready(port: u16) -> bool {
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        std::io::Result::Ok(&head[9..] == b"200")
    };
    matches!(tokio::time::timeout(Duration::from_secs(2), ask).await, Ok(Ok(true)))
}

fn describe(arguments: &DevArgs, dir: &Path) {
    let first = ports(1, arguments.port_offset);
    println!("cluster of {} nodes under {}", arguments.nodes, dir.display());
    println!("connect:  sftp -P {} -i {}/demo.key demo@127.0.0.1   (any node's port)", first.sftp, dir.display());
    println!("password: {}/demo.password", dir.display());
    println!(
        "admin:    FLOTILLA_ENDPOINT=http://127.0.0.1:{} flotilla --token-file {}/admin.token user list",
        first.admin,
        dir.display()
    );
    println!("files:    {}/files/demo", dir.display());
}

/// Until Ctrl-C or SIGTERM. A node that ends is reported, not restarted: killing one is part of the demonstration.
async fn until_stopped(children: &mut [Child]) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    let mut reported = vec![false; children.len()];
    let mut child_ended = match signal(SignalKind::child()) {
        Ok(signal) => signal,
        Err(_) => return,
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => return,
            _ = interrupt.recv() => return,
            _ = child_ended.recv() => {}
        }
        for (at, child) in children.iter_mut().enumerate() {
            if !reported[at]
                && let Ok(Some(status)) = child.try_wait()
            {
                reported[at] = true;
                println!("node {} ended: {status}", at + 1);
            }
        }
    }
}

/// SIGTERM to all, a bounded wait, then SIGKILL.
async fn stop_all(mut children: Vec<Child>) {
    for child in &children {
        if let Some(pid) = child.id().and_then(|pid| rustix::process::Pid::from_raw(pid as i32)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
    let all = async {
        for child in &mut children {
            let _ = child.wait().await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(6), all).await.is_err() {
        for child in &mut children {
            let _ = child.kill().await;
        }
    }
}
