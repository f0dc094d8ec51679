//! One node's process.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::Options;
use crate::check::cluster::{EXIT, Exit};
use crate::history::Recorder;
use crate::net::{Network, Place};
use crate::probe::faketime;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Not started, or killed by us.
    Down,
    Running,
    Frozen,
    /// It ended although nobody killed it.
    Ended,
}

pub struct Process {
    node: Place,
    binary: PathBuf,
    folder: PathBuf,
    child: Option<Child>,
    frozen: bool,
    pub starts: u64,
    recorder: Recorder,
    /// That it ended by itself is written down already.
    noted: bool,
    /// Why it may end without being killed.
    excuse: Option<Excuse>,
    /// What is loaded before it, so that its wall clock can be set.
    clock: Option<PathBuf>,
    /// What was in the file of its errors before its last start.
    earlier_words: u64,
    /// Its disk is damaged: only a new machine may be started in its place.
    pub condemned: bool,
}

/// It was asked to end, or a fault of its disk may make it.
struct Excuse {
    why: &'static str,
    until: Option<Instant>,
}

/// What libfaketime reads at each look at the wall clock: by how much it is off.
const WALL: &str = "wall";

/// By a rename: no process reads half of it.
pub fn set_wall_clock(folder: &Path, by_ms: i64) -> Result<()> {
    let (file, new) = (folder.join(WALL), folder.join("wall.new"));
    let sign = if by_ms < 0 { '-' } else { '+' };
    std::fs::write(&new, format!("{sign}{}.{:03}\n", by_ms.unsigned_abs() / 1_000, by_ms.unsigned_abs() % 1_000))?;
    Ok(std::fs::rename(new, file)?)
}

const ERRORS: &str = "stderr.log";

/// The excuse of a process that was asked to end.
pub const ASKED: &str = "asked";

impl Process {
    pub fn new(node: Place, options: &Options, cluster: &Path, recorder: Recorder) -> Process {
        let (folder, binary) = (cluster.join(format!("node{node}")), options.binary.clone());
        let clock = options.wall_clocks.then(faketime).flatten();
        let (child, frozen, starts, noted, excuse) = (None, false, 0, false, None);
        let (earlier_words, condemned) = (0, false);
        Process {
            node,
            binary,
            folder,
            child,
            frozen,
            starts,
            recorder,
            noted,
            excuse,
            clock,
            earlier_words,
            condemned,
        }
    }

    /// From here on, and for a while if one is given, it may end by itself.
    pub fn may_end(&mut self, why: &'static str, time: Option<Duration>) {
        // What it did before is judged without the excuse.
        self.life();
        self.excuse = Some(Excuse { why, until: time.map(|time| Instant::now() + time) });
    }
    pub fn must_live(&mut self) {
        self.life();
        self.excuse = None;
    }

    /// Starts it where it belongs. Already running: nothing.
    pub fn start(&mut self, network: &Network) -> Result<()> {
        if self.life() == Life::Running || self.life() == Life::Frozen {
            return Ok(());
        }
        ensure!(!self.condemned, "node {} has damaged files and was not replaced", self.node);
        let errors = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join(ERRORS))?;
        self.earlier_words = errors.metadata()?.len();
        let mut command = match network {
            Network::Bridge(bridge) => bridge.command(self.node, &self.binary),
            Network::Switch(_) => Command::new(&self.binary),
        };
        command.args(["serve", "--config"]).arg(self.folder.join("flotilla.toml"));
        if let Some(library) = &self.clock {
            set_wall_clock(&self.folder, 0)?;
            command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", self.folder.join(WALL));
            command.env("FAKETIME_NO_CACHE", "1").env("DONT_FAKE_MONOTONIC", "1");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).kill_on_drop(true);
        self.child = Some(command.spawn().with_context(|| format!("starting node {}", self.node))?);
        (self.starts, self.noted, self.excuse) = (self.starts + 1, false, None);
        Ok(())
    }

    pub fn start_excused(&mut self, network: &Network, why: &'static str) -> Result<()> {
        self.start(network)?;
        self.excuse = Some(Excuse { why, until: None });
        Ok(())
    }

    /// Writes down, once, that it ended although nobody killed it.
    pub fn life(&mut self) -> Life {
        let Some(child) = &mut self.child else { return Life::Down };
        match child.try_wait() {
            Ok(None) if self.frozen => Life::Frozen,
            Ok(None) => Life::Running,
            Ok(Some(status)) => {
                self.note(status);
                Life::Ended
            }
            Err(_) => Life::Ended,
        }
    }

    fn note(&mut self, status: ExitStatus) {
        if std::mem::replace(&mut self.noted, true) {
            return;
        }
        let excuse = self.excuse.as_ref().filter(|one| one.until.is_none_or(|until| Instant::now() < until));
        let (node, start, excuse) = (self.node as u64, self.starts, excuse.map(|one| one.why.to_owned()));
        let exit = Exit { node, start, status: status.to_string(), well: status.success(), excuse };
        self.recorder.observe(EXIT, serde_json::json!(exit));
    }

    /// The last line that it wrote beside its log since its last start.
    pub fn last_words(&self) -> String {
        let text = std::fs::read(self.folder.join(ERRORS)).unwrap_or_default();
        let text = String::from_utf8_lossy(text.get(self.earlier_words as usize..).unwrap_or_default());
        text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
    }

    pub fn exit_code(&mut self) -> Option<i32> {
        self.child.as_mut()?.try_wait().ok()??.code()
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.child.as_ref()?.id()? as i32)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().with_context(|| format!("node {} is not running", self.node))?;
        kill_process(pid, signal).with_context(|| format!("signalling node {}", self.node))
    }

    pub async fn kill(&mut self) -> Result<()> {
        self.frozen = false;
        if let Some(mut child) = self.child.take() {
            let _ = child.start_kill();
            let status = child.wait().await?;
            if status.signal() != Some(Signal::KILL.as_raw()) {
                self.note(status);
            }
        }
        Ok(())
    }

    pub async fn stop(&mut self, limit: Duration) -> Result<()> {
        ensure!(self.life() != Life::Ended, "node {} had ended by itself", self.node);
        self.may_end(ASKED, None);
        self.signal(Signal::TERM)?;
        self.await_end(limit).await
    }

    /// Waits until it has ended well, after somebody asked for it.
    pub async fn await_end(&mut self, limit: Duration) -> Result<()> {
        let child = self.child.as_mut().with_context(|| format!("node {} is not running", self.node))?;
        let ended = tokio::time::timeout(limit, child.wait()).await;
        let status = ended.with_context(|| format!("node {} did not end within {limit:?}", self.node))??;
        self.child = None;
        self.note(status);
        ensure!(status.success(), "node {} ended with {status} when it was asked to end", self.node);
        Ok(())
    }

    /// A thread that the signal has not reached yet may still answer: waits for all of them.
    pub async fn freeze(&mut self) -> Result<()> {
        self.signal(Signal::STOP)?;
        self.frozen = true;
        let pid = self.pid().context("it was signalled")?;
        let tasks = PathBuf::from(format!("/proc/{}/task", pid.as_raw_pid()));
        let mut every = tokio::time::interval(Duration::from_millis(2));
        for _ in 0..2_500 {
            every.tick().await;
            if all_stopped(&tasks)? {
                return Ok(());
            }
        }
        anyhow::bail!("node {}: not every thread stopped within 5 s", self.node)
    }

    pub fn thaw(&mut self) -> Result<()> {
        if self.frozen {
            self.frozen = false;
            self.signal(Signal::CONT)?;
        }
        Ok(())
    }

    /// Open descriptors and resident memory in KiB.
    pub fn resources(&self) -> Option<(u64, u64)> {
        let folder = PathBuf::from(format!("/proc/{}", self.pid()?.as_raw_pid()));
        let descriptors = std::fs::read_dir(folder.join("fd")).ok()?.count() as u64;
        let status = std::fs::read_to_string(folder.join("status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some((descriptors, resident.split_whitespace().next()?.parse().ok()?))
    }
}

fn all_stopped(tasks: &Path) -> Result<bool> {
    for task in std::fs::read_dir(tasks)? {
        let stat = std::fs::read_to_string(task?.path().join("stat")).unwrap_or_default();
        if !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')) {
            return Ok(false);
        }
    }
    Ok(true)
}
