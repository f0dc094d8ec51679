//! A cluster of real processes on loopback: `flotilla dev` under a temporary folder, with faults by signal.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{Mutex, MutexGuard};

use crate::rest::Rest;

/// How long a cluster may take from its start to `ready`.
const START: Duration = Duration::from_secs(60);

/// Labs run one at a time: each has three nodes on a machine with two cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Each lab of this process gets ports of its own.
static NEXT_OFFSET: AtomicU16 = AtomicU16::new(0);

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
    offset: u16,
    folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
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
    /// Starts `nodes` nodes and waits for `ready`.
    pub async fn start(nodes: usize) -> Result<Lab> {
        Lab::start_with(nodes, &[]).await
    }

    /// Starts with further arguments for `dev`.
    pub async fn start_with(nodes: usize, arguments: &[&str]) -> Result<Lab> {
        Lab::start_at(nodes, arguments, |_, _| String::new()).await
    }

    /// Starts with a piece of configuration in each node's `conf.d`, made from the node's number and the port offset.
    pub async fn start_configured(nodes: usize, config: impl Fn(u16, u16) -> String) -> Result<Lab> {
        Lab::start_at(nodes, &[], config).await
    }

    async fn start_at(nodes: usize, arguments: &[&str], config: impl Fn(u16, u16) -> String) -> Result<Lab> {
        let turn = ONE_AT_A_TIME.lock().await;
        let parent = std::env::var_os("FLOTILLA_LAB_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let folder = tempfile::Builder::new().prefix("flotilla-lab-").tempdir_in(parent)?;
        // Below 32768, where the kernel takes ports for outgoing connections.
        let pid = u16::try_from(std::process::id() % 60).unwrap_or(0);
        let offset = 10_000 + pid * 200 + NEXT_OFFSET.fetch_add(10, Ordering::Relaxed) % 100;
        for node in 1..=nodes as u16 {
            let extra = folder.path().join(format!("node{node}/conf.d"));
            std::fs::create_dir_all(&extra)?;
            std::fs::write(extra.join("lab.toml"), config(node, offset))?;
        }
        let mut dev = Command::new(binary()?)
            .args(["dev", "--nodes", &nodes.to_string(), "--port-offset", &offset.to_string(), "--dir"])
            .arg(folder.path())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting flotilla dev")?;
        let mut output = BufReader::new(dev.stdout.take().context("dev has a stdout")?).lines();
        let nodes = match tokio::time::timeout(START, read_until_ready(&mut output)).await {
            Ok(Ok(nodes)) => nodes,
            failed => {
                let text = stderr_of(&mut dev).await;
                bail!("dev did not become ready: {:?}\n{text}", failed.map(|result| result.err()));
            }
        };
        Ok(Lab { dev, _output: output, nodes, offset, folder, _turn: turn })
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
        2021 + self.offset + node as u16
    }
    pub fn admin_port(&self, node: usize) -> u16 {
        7980 + self.offset + 100 * node as u16
    }
    /// Added to all ports of this lab.
    pub fn port_offset(&self) -> u16 {
        self.offset
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

    /// The node that leads, as a majority of the nodes says.
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

    /// Starts a killed node with the command that `dev` printed, and waits until it answers `/livez`.
    pub async fn restart(&mut self, node: usize) -> Result<()> {
        // Reaped means that its last thread is gone, and with it its sockets and locks: by us or, at first, by `dev`.
        if let Some(mut own) = self.nodes[node - 1].own.take() {
            own.wait().await?;
        }
        let process = PathBuf::from(format!("/proc/{}", self.pid(node)));
        self.until(START, "the killed process is gone", async || Ok(!process.exists())).await?;
        let log = std::fs::File::create(self.folder.path().join(format!("node{node}.restarted.log")))?;
        let line = &self.nodes[node - 1].restart;
        let child = Command::new(&line[0]).args(&line[1..]).stderr(log).kill_on_drop(true).spawn()?;
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

    /// The last lines of each node's log, for a failure's text.
    pub fn log_tails(&self) -> String {
        let mut text = String::new();
        for node in 1..=self.size() {
            let log =
                std::fs::read_to_string(self.folder.path().join(format!("node{node}/node.log"))).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(15)..].join("\n");
            text.push_str(&format!("--- node {node}\n{tail}\n"));
        }
        text
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
