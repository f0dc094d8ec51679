//! A cluster of real processes on loopback: `flotilla dev` under a temporary folder, with faults by signal.

mod mount;
mod plan;
mod ports;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{Mutex, MutexGuard};

pub use self::mount::{Filling, Mount};
pub use self::plan::Plan;
pub use self::ports::Ports;
use crate::rest::Rest;

/// How long a cluster may take from its start to `ready`.
const START: Duration = Duration::from_secs(60);

/// Labs run one at a time: each has three nodes on a machine with two cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// One node's process as `dev` printed it, or as restarted here.
struct Node {
    pid: Pid,
    restart: Vec<String>,
    /// Set when this lab restarted the node itself.
    own: Option<Child>,
}

/// A running cluster. Dropping it ends `dev`, which ends its nodes.
pub struct Lab {
    dev: Child,
    _output: Lines<BufReader<ChildStdout>>,
    nodes: Vec<Node>,
    ports: Ports,
    /// Small file systems under the folder, by the path that was given.
    mounts: Vec<(String, Mount)>,
    folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// The right to run processes, and ports of one's own.
pub(crate) async fn turn() -> Result<(MutexGuard<'static, ()>, Ports)> {
    Ok((ONE_AT_A_TIME.lock().await, Ports::claim()?))
}

/// The product's binary beside the test's own, or `FLOTILLA_BIN`.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("FLOTILLA_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let found = own.ancestors().skip(1).take(3).map(|folder| folder.join("flotilla")).find(|path| path.is_file());
    found.context("no `flotilla` beside the test binary: run `cargo build -p flotilla` first")
}

impl Lab {
    pub fn plan(nodes: usize) -> Plan {
        Plan::new(nodes)
    }

    /// Starts `nodes` nodes and waits for `ready`.
    pub async fn start(nodes: usize) -> Result<Lab> {
        Lab::plan(nodes).start().await
    }

    /// Starts with further arguments for `dev`.
    pub async fn start_with(nodes: usize, arguments: &[&str]) -> Result<Lab> {
        Lab::plan(nodes).arguments(arguments).start().await
    }

    /// Starts with a piece of configuration in each node's `conf.d`, made from the node's number and the port offset.
    pub async fn start_configured(nodes: usize, config: impl Fn(u16, u16) -> String) -> Result<Lab> {
        let ports = Ports::claim()?;
        let settings = (1..=nodes).map(|node| (node, config(node as u16, ports.offset))).collect();
        Lab::plan(nodes).on(ports, settings).start().await
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
    /// What demo's users stored.
    pub fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }
    /// Nodes are numbered from 1.
    pub fn sftp_port(&self, node: usize) -> u16 {
        2021 + self.ports.offset + node as u16
    }
    pub fn admin_port(&self, node: usize) -> u16 {
        7980 + self.ports.offset + 100 * node as u16
    }
    pub fn peer_port(&self, node: usize) -> u16 {
        7982 + self.ports.offset + 100 * node as u16
    }
    /// The file system that the plan put at `path`.
    pub fn mounted(&self, path: &str) -> Result<&Mount> {
        let found = self.mounts.iter().find(|(own, _)| own == path);
        found.map(|(_, mount)| mount).with_context(|| format!("nothing is mounted at {path}"))
    }
    /// Added to all ports of this lab.
    pub fn port_offset(&self) -> u16 {
        self.ports.offset
    }
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    pub fn demo_password(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.path().join("demo.password"))?.trim().to_owned())
    }
    pub fn admin_token(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.path().join("admin.token"))?.trim().to_owned())
    }
    pub fn rest(&self, node: usize) -> Result<Rest> {
        Ok(Rest::new(self.admin_port(node), Some(self.admin_token()?)))
    }

    /// Runs a verb of the command line against a node: whether it succeeded, and what it printed on both streams.
    pub async fn cli(&self, node: usize, arguments: &[&str]) -> Result<(bool, String)> {
        let endpoint = format!("http://127.0.0.1:{}", self.admin_port(node));
        let mut command = Command::new(binary()?);
        command.args(arguments).args(["--endpoint", &endpoint, "--token-file"]);
        command.arg(self.folder().join("admin.token")).stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(30), command.output()).await;
        let output = output.with_context(|| format!("{arguments:?} took over 30 s"))??;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    }

    /// Makes a user with a password equal to its name and the given limits.
    pub async fn user(&self, name: &str, max_sessions: u32, quota_size: u64, quota_files: u64) -> Result<()> {
        let body = serde_json::json!({
            "username": name, "password": password_of(name), "status": 1, "permissions": {"/": ["*"]},
            "max_sessions": max_sessions, "quota_size": quota_size, "quota_files": quota_files,
        });
        let (status, answer) = self.rest(1)?.post("/api/v2/users", &body).await?;
        ensure!(status == 201, "creating {name}: {status} {answer}");
        Ok(())
    }

    /// Makes `count` users through a node, eight at a time: that many commits.
    pub async fn commits(&self, node: usize, prefix: &str, count: usize) -> Result<()> {
        use futures::stream::{self, StreamExt, TryStreamExt};
        let rest = self.rest(node)?;
        let made = (0..count).map(|n| {
            let body =
                serde_json::json!({"username": format!("{prefix}{n}"), "status": 1, "permissions": {"/": ["*"]}});
            let rest = rest.clone();
            async move {
                let (status, answer) = rest.post("/api/v2/users", &body).await?;
                ensure!(status == 201, "{status} {answer}");
                Ok(())
            }
        });
        stream::iter(made).buffer_unordered(8).try_collect().await
    }

    /// The node that leads, as the first node says that answers and knows one.
    pub async fn leader(&self) -> Result<usize> {
        for node in 1..=self.size() {
            if let Ok((200, answer)) = self.rest(node)?.get("/api/v2/cluster").await
                && let Some(leader) = answer["leader"].as_u64()
            {
                return Ok(leader as usize);
            }
        }
        bail!("no node knows a leader")
    }

    /// The process id of a node.
    pub fn pid(&self, node: usize) -> i32 {
        self.nodes[node - 1].pid.as_raw_pid()
    }

    pub fn signal(&self, node: usize, signal: Signal) -> Result<()> {
        kill_process(self.nodes[node - 1].pid, signal).with_context(|| format!("signalling node {node}"))
    }
    /// kill -9.
    pub fn kill(&mut self, node: usize) -> Result<()> {
        self.signal(node, Signal::KILL)
    }
    /// SIGSTOP, and waits until every thread has stopped: one that the signal has not reached yet may still answer.
    pub async fn freeze(&self, node: usize) -> Result<()> {
        self.signal(node, Signal::STOP)?;
        let tasks = format!("/proc/{}/task", self.pid(node));
        self.until(Duration::from_secs(5), "every thread has stopped", async || {
            for task in std::fs::read_dir(&tasks)? {
                let stat = std::fs::read_to_string(task?.path().join("stat")).unwrap_or_default();
                if !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }
    pub fn thaw(&self, node: usize) -> Result<()> {
        self.signal(node, Signal::CONT)
    }

    /// Waits until a node that was told to end has ended: by its last thread, and with it its sockets and locks.
    pub async fn gone(&mut self, node: usize) -> Result<()> {
        // Reaped by us or, at first, by `dev`.
        if let Some(mut own) = self.nodes[node - 1].own.take() {
            tokio::time::timeout(START, own.wait()).await.context("the node does not end")??;
        }
        let process = PathBuf::from(format!("/proc/{}", self.pid(node)));
        self.until(START, "the process is gone", async || Ok(!process.exists())).await
    }

    /// SIGTERM, and waits until the node has ended.
    pub async fn stop(&mut self, node: usize) -> Result<()> {
        self.signal(node, Signal::TERM)?;
        self.gone(node).await
    }

    /// Tries to start a node that must not start; what it says on standard error and in its log.
    pub async fn refuses_to_start(&mut self, node: usize) -> Result<String> {
        self.gone(node).await?;
        let line = &self.nodes[node - 1].restart;
        let output = Command::new(&line[0]).args(&line[1..]).kill_on_drop(true).stdin(Stdio::null()).output();
        let output = tokio::time::timeout(START, output).await.context("the node runs although it must not")??;
        ensure!(!output.status.success(), "the node ended well although it must not");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Waits until the log has so many sessions: one is closed there behind its last settlement.
    pub async fn sessions_left(&self, wanted: usize) -> Result<()> {
        self.until(Duration::from_secs(10), "the other sessions are closed", async || {
            let (_, sessions) = self.rest(1)?.get("/api/v2/connections").await?;
            Ok(sessions.as_array().is_some_and(|list| list.len() == wanted))
        })
        .await
    }

    /// Starts a killed node with the command that `dev` printed, and waits until it answers `/livez`.
    pub async fn restart(&mut self, node: usize) -> Result<()> {
        self.restart_under(node, &[]).await
    }

    /// As `restart`, with the program started by another: `faketime`, `unshare` and their like.
    pub async fn restart_under(&mut self, node: usize, wrapper: &[&str]) -> Result<()> {
        self.gone(node).await?;
        let log = std::fs::File::create(self.folder.path().join(format!("node{node}.restarted.log")))?;
        let own = self.nodes[node - 1].restart.iter().map(String::as_str);
        let line: Vec<&str> = wrapper.iter().copied().chain(own).collect();
        let child = Command::new(line[0]).args(&line[1..]).stderr(log).kill_on_drop(true).spawn();
        let child = child.with_context(|| line.join(" "))?;
        let pid = Pid::from_raw(child.id().context("just started")? as i32).context("a pid is positive")?;
        self.nodes[node - 1].pid = pid;
        self.nodes[node - 1].own = Some(child);
        self.until(START, "restarted node answers", async || {
            Ok(Rest::new(self.admin_port(node), None).get("/livez").await.is_ok_and(|(status, _)| status == 200))
        })
        .await
    }

    /// Waits until every node is ready.
    pub async fn until_ready(&self, limit: Duration) -> Result<()> {
        for node in 1..=self.size() {
            let what = format!("node {node} is ready");
            self.until(limit, &what, async || {
                Ok(Rest::new(self.admin_port(node), None).get("/readyz").await.is_ok_and(|(status, _)| status == 200))
            })
            .await?;
        }
        Ok(())
    }

    /// Polls a condition of outside processes every 20 ms, for at most `limit`.
    pub async fn until(&self, limit: Duration, what: &str, check: impl AsyncFn() -> Result<bool>) -> Result<()> {
        let end = tokio::time::Instant::now() + limit;
        let mut every = tokio::time::interval(Duration::from_millis(20));
        loop {
            every.tick().await;
            match tokio::time::timeout_at(end, check()).await {
                Ok(Ok(true)) => return Ok(()),
                Ok(Ok(false)) if tokio::time::Instant::now() < end => {}
                Ok(Err(error)) => return Err(error.context(what.to_owned())),
                _ => bail!("waited {limit:?} in vain: {what}\n{}", self.log_tails()),
            }
        }
    }

    /// What a node logged so far, JSON lines.
    pub fn log(&self, node: usize) -> String {
        std::fs::read_to_string(self.folder.path().join(format!("node{node}/node.log"))).unwrap_or_default()
    }

    /// A node's log lines in which `key` is `value`. Every line must be a JSON object with a time and a level.
    pub fn logged(&self, node: usize, key: &str, value: &str) -> Result<Vec<serde_json::Value>> {
        let mut found = Vec::new();
        for line in self.log(node).lines() {
            let line: serde_json::Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
            ensure!(line["time"].is_string() && line["level"].is_string(), "no time or level: {line}");
            if line[key] == value {
                found.push(line);
            }
        }
        Ok(found)
    }

    /// Why `/readyz` says 503; empty when it says 200.
    pub async fn unready(&self, node: usize) -> Result<String> {
        let (status, answer) = Rest::new(self.admin_port(node), None).get("/readyz").await?;
        Ok(if status == 200 { String::new() } else { answer["reasons"].to_string() })
    }

    /// The last lines of each node's log, for a failure's text.
    pub fn log_tails(&self) -> String {
        let mut text = String::new();
        for node in 1..=self.size() {
            let log = self.log(node);
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(15)..].join("\n");
            text.push_str(&format!("--- node {node}\n{tail}\n"));
        }
        text
    }

    /// Puts a file into a user's home behind the server's back, as an operator might.
    pub fn seed(&self, username: &str, name: &str, size: u64) -> Result<()> {
        let home = self.files().join(username);
        std::fs::create_dir_all(&home)?;
        Ok(std::fs::write(home.join(name), crate::client::pattern(0, size as usize))?)
    }

    /// Bytes and files under a user's home, as the file system says.
    pub fn stored(&self, username: &str) -> Result<(u64, u64)> {
        let mut sum = (0, 0);
        for entry in std::fs::read_dir(self.files().join(username))? {
            let meta = entry?.metadata()?;
            if meta.is_file() {
                sum = (sum.0 + meta.len(), sum.1 + 1);
            }
        }
        Ok(sum)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for node in &self.nodes {
            let _ = kill_process(node.pid, Signal::CONT);
        }
        if let Some(pid) = self.dev.id().and_then(|pid| Pid::from_raw(pid as i32)) {
            let _ = kill_process(pid, Signal::TERM);
        }
        // `dev` ends its nodes on SIGTERM; a bounded wait, then kill_on_drop does the rest.
        for _ in 0..200 {
            if matches!(self.dev.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The password that `Lab::user` gives.
pub fn password_of(name: &str) -> String {
    format!("{name}-password-1")
}

async fn read_until_ready(output: &mut Lines<BufReader<ChildStdout>>) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    while let Some(line) = output.next_line().await? {
        if line == "ready" {
            return Ok(nodes);
        }
        // `node 1 pid 4711 … restart: COMMAND`
        if let Some(rest) = line.strip_prefix("node ")
            && let Some((_, rest)) = rest.split_once(" pid ")
        {
            let pid = rest.split_whitespace().next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
            let restart = rest.split_once("restart: ").map(|(_, command)| command).context("no restart command")?;
            nodes.push(Node {
                pid: pid.with_context(|| format!("no pid in {line:?}"))?,
                restart: restart.split_whitespace().map(str::to_owned).collect(),
                own: None,
            });
        }
    }
    bail!("output ended before `ready`")
}

async fn stderr_of(child: &mut Child) -> String {
    let _ = child.start_kill();
    let mut text = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let read = tokio::io::AsyncReadExt::read_to_string(&mut stderr, &mut text);
        let _ = tokio::time::timeout(Duration::from_secs(2), read).await;
    }
    text
}
