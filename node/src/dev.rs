//! `flotilla dev`: a cluster on loopback as child processes of this binary, with a demo user and an admin token.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::bootstrap::{Demo, FIRST_TOKEN};
use crate::config::{
    AdminSection, Config, Durability, HealthSection, LogSection, NodeSection, PeersSection, RaftSection, SftpListen,
    SftpSection, StorageSection,
};
use crate::init::{First, found, join_folder};
use crate::join_token::JoinToken;
use crate::secrets::{random_text, write_secret};

/// Join tokens of the nodes that have not joined yet; gone when all have.
const JOIN_TOKENS: &str = "join.tokens";
/// How long the nodes may take to become ready.
const START: Duration = Duration::from_secs(45);
/// Whoever tries things out does not wait long for a stop.
const DRAIN: u32 = 4;
/// A node that has not ended by then is killed.
const STOP: Duration = Duration::from_secs(20);

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
    let mut children = vec![start_node(&binary, &dir, 1)?];
    join_others(&arguments, &dir, &mut children).await?;
    for node in 2..=arguments.nodes {
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
    // Before anybody is told that it may be stopped: a signal that nobody waits for would end this process without its nodes.
    let mut stop = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    println!("ready");
    until_stopped(&mut stop, &mut children).await;
    stop_all(children).await;
    Ok(())
}

/// The other nodes of a new cluster join as any machine would, with tokens that the first node was told of.
async fn join_others(arguments: &DevArgs, dir: &Path, first: &mut [Child]) -> Result<()> {
    let tokens = dir.join(JOIN_TOKENS);
    let Ok(text) = std::fs::read_to_string(&tokens) else { return Ok(()) };
    let cluster_id = std::fs::read_to_string(dir.join("cluster.uuid"))?;
    let joining = async {
        for (node, token) in (2..).zip(text.lines()) {
            let config = config(arguments, dir, node, cluster_id.trim())?;
            if config.node.data.join("identity").is_dir() {
                continue;
            }
            let token = JoinToken::parse(token)?;
            let joined = join_folder(&config, &token, &token.addresses).await;
            joined.with_context(|| format!("node {node} joins"))?;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        joined = joining => joined?,
        ended = first[0].wait() => {
            let errors = std::fs::read_to_string(dir.join("node1/stderr.log")).unwrap_or_default();
            bail!("node 1 ended with {:?}:\n{errors}", ended?);
        }
    }
    Ok(std::fs::remove_file(&tokens)?)
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

/// The first node's identity, the join tokens of the others, and the demonstration's secrets.
fn make_cluster(arguments: &DevArgs, dir: &Path) -> Result<()> {
    let cluster_id = uuid::Uuid::new_v4().to_string();
    std::fs::write(dir.join("cluster.uuid"), &cluster_id)?;
    for node in 1..=arguments.nodes {
        std::fs::create_dir_all(dir.join(format!("node{node}")))?;
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
    let demo = Demo {
        username: "demo".into(),
        password_hash: flotilla_auth::hash_password(password.as_bytes())?,
        public_key,
        storage: "files".into(),
    };
    let contact = vec![format!("127.0.0.1:{}", ports(1, arguments.port_offset).peer)];
    let mut tokens: Vec<JoinToken> =
        (1..arguments.nodes).map(|_| JoinToken::new(cluster_id.clone(), [0; 32], contact.clone())).collect();
    let join_tokens = tokens.iter().map(JoinToken::hash).collect();
    let first = First { token_name: FIRST_TOKEN.into(), token, demo: Some(demo), join_tokens };
    let ca_pem = found(&config(arguments, dir, 1, &cluster_id)?, &cluster_id, first)?;
    let fingerprint = flotilla_raft::pki::fingerprint(&ca_pem)?;
    tokens.iter_mut().for_each(|token| token.ca_fingerprint = fingerprint);
    let text: String = tokens.iter().map(|token| format!("{}\n", token.text())).collect();
    write_secret(&dir.join(JOIN_TOKENS), text.as_bytes())
}

fn config(arguments: &DevArgs, dir: &Path, node: u16, cluster_id: &str) -> Result<Config> {
    let folder = dir.join(format!("node{node}"));
    let own = ports(node, arguments.port_offset);
    let local = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    Ok(Config {
        node: NodeSection { id: Some(u64::from(node)), name: format!("node{node}"), data: folder.join("data") },
        peers: PeersSection {
            cluster_id: Some(cluster_id.to_owned()),
            listen: local(own.peer),
            ..PeersSection::default()
        },
        sftp: SftpSection {
            listen: vec![SftpListen { address: local(own.sftp), proxy_protocol: Default::default() }],
            durability: match arguments.durability.as_str() {
                "close" => Durability::Close,
                "none" => Durability::None,
                other => bail!("--durability {other}: `close` or `none`"),
            },
            drain_seconds: DRAIN,
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
    // Ready is said when the cluster stands the failures that its size promises.
    let token = std::fs::read_to_string(dir.join("admin.token"))?;
    let wanted = usize::from(arguments.nodes - (1 - arguments.nodes % 2));
    while voters(ports(1, arguments.port_offset).admin, token.trim()).await < wanted {
        every.tick().await;
        ensure!(tokio::time::Instant::now() < end, "fewer than {wanted} nodes have a vote after {START:?}");
    }
    Ok(())
}

/// Whether `/readyz` answers 200.
async fn is_ready(port: u16) -> bool {
    get(port, "/readyz", "").await.is_ok_and(|answer| answer.get(9..12) == Some("200"))
}

/// How many nodes have a vote, as a node says.
async fn voters(port: u16, token: &str) -> usize {
    let header = format!("Authorization: Bearer {token}\r\n");
    let answer = get(port, "/api/v2/cluster", &header).await.unwrap_or_default();
    ["\"leader\"", "\"voter\""].iter().map(|role| answer.matches(&format!("\"role\":{role}")).count()).sum()
}

/// Status line, head and body.
async fn get(port: u16, path: &str, header: &str) -> Result<String> {
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(1 << 20).read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    tokio::time::timeout(Duration::from_secs(2), ask).await?
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
async fn until_stopped([terminate, interrupt]: &mut [Signal; 2], children: &mut [Child]) {
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
    if tokio::time::timeout(STOP, all).await.is_err() {
        for child in &mut children {
            let _ = child.kill().await;
        }
    }
}
