//! Machines that an operator makes into a cluster: each command is one that is typed, on folders of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::MutexGuard;

use crate::lab::{Ports, binary, password_of, turn};
use crate::rest::Rest;

/// Longest time for a command, on a machine that does much else.
const COMMAND: Duration = Duration::from_secs(60);
const START: Duration = Duration::from_secs(60);

/// What a command gave.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Data of a command that must have succeeded.
    pub fn ok(self) -> Result<String> {
        ensure!(self.code == 0, "exit code {}: {}{}", self.code, self.stdout, self.stderr);
        Ok(self.stdout)
    }
    /// Words of a command that must have failed.
    pub fn refused(self) -> Result<String> {
        ensure!(self.code != 0, "it should have been refused: {}{}", self.stdout, self.stderr);
        Ok(self.stderr)
    }
}

/// Machines by number; a machine's node id may be another. Dropped, their processes are killed.
pub struct Fleet {
    folder: tempfile::TempDir,
    ports: Ports,
    processes: Vec<Option<Child>>,
    environment: Vec<(String, String)>,
    _turn: MutexGuard<'static, ()>,
}

impl Fleet {
    /// Nothing runs yet.
    pub async fn new(machines: usize) -> Result<Fleet> {
        let (turn, ports) = turn().await?;
        let parent = std::env::var_os("FLOTILLA_LAB_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let folder = tempfile::Builder::new().prefix("flotilla-fleet-").tempdir_in(parent)?;
        std::fs::create_dir_all(folder.path().join("files"))?;
        let processes = std::iter::repeat_with(|| None).take(machines).collect();
        Ok(Fleet { folder, ports, processes, environment: Vec::new(), _turn: turn })
    }

    /// A variable of the environment of all nodes that are started from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// A cluster of that many machines, all voters if their number is odd.
    pub async fn cluster(machines: usize) -> Result<Fleet> {
        Fleet::cluster_in(machines, machines, &[]).await
    }

    /// A cluster of the first of these machines, whose nodes run in this environment.
    pub async fn cluster_in(machines: usize, all: usize, environment: &[(&str, &str)]) -> Result<Fleet> {
        let mut fleet = Fleet::new(all).await?;
        environment.iter().for_each(|(name, value)| fleet.set(name, value));
        fleet.init(1).await?.ok()?;
        fleet.serve(1).await?;
        for machine in 2..=machines {
            let token = fleet.token(1).await?;
            fleet.join(machine, &token).await?.ok()?;
            fleet.serve(machine).await?;
        }
        fleet.until_voters(1, machines - (1 - machines % 2)).await?;
        for machine in 1..=machines {
            fleet.until_ready(machine).await?;
        }
        Ok(fleet)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
    pub fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }
    pub fn data(&self, machine: usize) -> PathBuf {
        self.folder.path().join(format!("m{machine}/data"))
    }
    pub fn config(&self, machine: usize) -> PathBuf {
        self.folder.path().join(format!("m{machine}/flotilla.toml"))
    }
    pub fn sftp_port(&self, machine: usize) -> u16 {
        2021 + self.ports.offset + machine as u16
    }
    pub fn admin_port(&self, machine: usize) -> u16 {
        7980 + self.ports.offset + 100 * machine as u16
    }
    pub fn peer_port(&self, machine: usize) -> u16 {
        7982 + self.ports.offset + 100 * machine as u16
    }
    pub fn peer_address(&self, machine: usize) -> String {
        format!("127.0.0.1:{}", self.peer_port(machine))
    }
    fn token_file(&self) -> PathBuf {
        self.data(1).with_file_name("admin.token")
    }
    pub fn rest(&self, machine: usize) -> Result<Rest> {
        let token = std::fs::read_to_string(self.token_file())?.trim().to_owned();
        Ok(Rest::new(self.admin_port(machine), Some(token)))
    }

    /// Runs `flotilla` with these arguments.
    pub async fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.run_in(&[], arguments).await
    }

    /// Runs `flotilla` in this environment.
    pub async fn run_in(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary()?);
        command.args(arguments).envs(environment.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output();
        let output = tokio::time::timeout(COMMAND, output).await;
        let output = output.with_context(|| format!("flotilla {arguments:?} took over {COMMAND:?}"))??;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Ok(Output { code, stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }

    /// Administration through this machine.
    pub async fn admin(&self, machine: usize, arguments: &[&str]) -> Result<Output> {
        let endpoint = format!("http://127.0.0.1:{}", self.admin_port(machine));
        let token = self.token_file();
        let token = token.to_str().context("a path that is text")?;
        self.run(&[&["--endpoint", &endpoint, "--token-file", token], arguments].concat()).await
    }

    fn machine_options(&self, machine: usize) -> Vec<String> {
        let loopback = |port: u16| format!("127.0.0.1:{port}");
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        vec![
            "--config".into(),
            text(self.config(machine)),
            "--data".into(),
            text(self.data(machine)),
            "--name".into(),
            format!("m{machine}"),
            "--peer".into(),
            loopback(self.peer_port(machine)),
            "--admin".into(),
            loopback(self.admin_port(machine)),
            "--sftp".into(),
            loopback(self.sftp_port(machine)),
            "--storage".into(),
            format!("files={}", self.files().display()),
        ]
    }

    pub async fn init(&self, machine: usize) -> Result<Output> {
        let options = self.machine_options(machine);
        let token = self.token_file().to_string_lossy().into_owned();
        std::fs::create_dir_all(self.folder.path().join(format!("m{machine}")))?;
        let all: Vec<&str> =
            ["init", "--token-out", &token].into_iter().chain(options.iter().map(String::as_str)).collect();
        self.run(&all).await
    }

    pub async fn join(&self, machine: usize, token: &str) -> Result<Output> {
        self.join_with(machine, token, &[]).await
    }

    /// With further options; the machine's own come last.
    pub async fn join_with(&self, machine: usize, token: &str, options: &[&str]) -> Result<Output> {
        self.join_in(&[], machine, token, options).await
    }

    /// In this environment.
    pub async fn join_in(
        &self,
        environment: &[(&str, &str)],
        machine: usize,
        token: &str,
        options: &[&str],
    ) -> Result<Output> {
        let own = self.machine_options(machine);
        // A machine that was configured by an earlier try has its file.
        let own: Vec<&str> = match self.config(machine).exists() {
            true => own.iter().take(2).map(String::as_str).collect(),
            false => own.iter().map(String::as_str).collect(),
        };
        self.run_in(environment, &[&["join", token], options, &own].concat()).await
    }

    /// A join token, through this machine.
    pub async fn token(&self, machine: usize) -> Result<String> {
        Ok(self.admin(machine, &["cluster", "token"]).await?.ok()?.trim().to_owned())
    }

    /// Starts the machine's node and waits until it answers `/livez`.
    pub async fn serve(&mut self, machine: usize) -> Result<()> {
        self.start(machine)?;
        let port = self.admin_port(machine);
        let what = format!("machine {machine} answers");
        let process = self.processes[machine - 1].as_mut().context("just started")?;
        let end = tokio::time::Instant::now() + START;
        let mut every = tokio::time::interval(Duration::from_millis(20));
        loop {
            every.tick().await;
            if Rest::new(port, None).get("/livez").await.is_ok_and(|(status, _)| status == 200) {
                return Ok(());
            }
            if let Some(status) = process.try_wait()? {
                let log = self.log(machine);
                bail!("machine {machine} ended with {status}:\n{log}");
            }
            ensure!(tokio::time::Instant::now() < end, "waited {START:?} in vain: {what}");
        }
    }

    /// Starts the machine's node; whether it comes up is the caller's question.
    pub fn start(&mut self, machine: usize) -> Result<()> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join(format!("m{machine}/log")))?;
        let config = self.config(machine);
        let child = Command::new(binary()?)
            .args(["serve", "--config"])
            .arg(config)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        self.processes[machine - 1] = Some(child);
        Ok(())
    }

    pub fn pid(&self, machine: usize) -> Result<Pid> {
        let id = self.processes[machine - 1].as_ref().and_then(Child::id).context("it does not run")?;
        Pid::from_raw(id as i32).context("a pid is positive")
    }

    pub fn signal(&self, machine: usize, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid(machine)?, signal)?)
    }

    /// Waits until the machine's process has ended; its exit code.
    pub async fn ended(&mut self, machine: usize) -> Result<Option<i32>> {
        let mut process = self.processes[machine - 1].take().context("it does not run")?;
        let status = tokio::time::timeout(START, process.wait()).await;
        Ok(status.with_context(|| format!("machine {machine} does not end\n{}", self.log(machine)))??.code())
    }

    /// kill -9, and gone.
    pub async fn kill(&mut self, machine: usize) -> Result<()> {
        self.signal(machine, Signal::KILL)?;
        self.ended(machine).await.map(|_| ())
    }

    /// The last lines of the machine's log.
    pub fn log(&self, machine: usize) -> String {
        let log = std::fs::read_to_string(self.folder.path().join(format!("m{machine}/log"))).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    pub fn log_contains(&self, machine: usize, text: &str) -> bool {
        let log = std::fs::read_to_string(self.folder.path().join(format!("m{machine}/log"))).unwrap_or_default();
        log.contains(text)
    }

    /// `GET /api/v2/cluster`, as this machine sees it.
    pub async fn view(&self, machine: usize) -> Result<Value> {
        let (status, view) = self.rest(machine)?.get("/api/v2/cluster").await?;
        ensure!(status == 200, "{status} {view}");
        Ok(view)
    }

    /// Ids of nodes with one of these roles.
    pub async fn with_role(&self, machine: usize, roles: &[&str]) -> Result<Vec<u64>> {
        let view = self.view(machine).await?;
        let nodes = view["nodes"].as_array().context("nodes")?.iter();
        let has = |node: &&Value| node["role"].as_str().is_some_and(|role| roles.contains(&role));
        Ok(nodes.filter(has).filter_map(|node| node["id"].as_u64()).collect())
    }

    pub async fn until_voters(&self, machine: usize, voters: usize) -> Result<()> {
        self.until(&format!("{voters} voters"), async || {
            Ok(self.with_role(machine, &["leader", "voter"]).await.is_ok_and(|found| found.len() == voters))
        })
        .await
    }

    pub async fn until_ready(&self, machine: usize) -> Result<()> {
        self.until(&format!("machine {machine} is ready"), async || Ok(self.readiness(machine).await?.0 == 200)).await
    }

    /// Status and text of `/readyz`; 0 if nothing answers.
    pub async fn readiness(&self, machine: usize) -> Result<(u16, String)> {
        let answer = Rest::new(self.admin_port(machine), None).get("/readyz").await;
        Ok(answer.map_or((0, String::new()), |(status, body)| (status, body.to_string())))
    }

    /// Polls a condition of outside processes every 20 ms.
    pub async fn until(&self, what: &str, check: impl AsyncFn() -> Result<bool>) -> Result<()> {
        let end = tokio::time::Instant::now() + START;
        let mut every = tokio::time::interval(Duration::from_millis(20));
        loop {
            every.tick().await;
            match tokio::time::timeout_at(end, check()).await {
                Ok(Ok(true)) => return Ok(()),
                Ok(Ok(false)) if tokio::time::Instant::now() < end => {}
                Ok(Err(error)) => return Err(error.context(what.to_owned())),
                _ => {
                    let logs: Vec<String> = (1..=self.processes.len())
                        .map(|machine| format!("--- machine {machine}\n{}", self.log(machine)))
                        .collect();
                    bail!("waited {START:?} in vain: {what}\n{}", logs.join("\n"));
                }
            }
        }
    }

    /// A user with a password equal to its name, as `Lab::user` makes it.
    pub async fn user(&self, machine: usize, name: &str) -> Result<()> {
        let body = serde_json::json!({
            "username": name, "password": password_of(name), "status": 1, "permissions": {"/": ["*"]},
        });
        let (status, answer) = self.rest(machine)?.post("/api/v2/users", &body).await?;
        ensure!(status == 201, "creating {name}: {status} {answer}");
        Ok(())
    }
}
