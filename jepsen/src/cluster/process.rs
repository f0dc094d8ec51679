//! One node's process.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::Options;
use crate::net::{Network, Place};

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
}

impl Process {
    pub fn new(node: Place, options: &Options, cluster: &Path) -> Process {
        let folder = cluster.join(format!("node{node}"));
        Process { node, binary: options.binary.clone(), folder, child: None, frozen: false, starts: 0 }
    }

    /// Starts it where it belongs. Already running: nothing.
    pub fn start(&mut self, network: &Network) -> Result<()> {
        if self.life() == Life::Running || self.life() == Life::Frozen {
            return Ok(());
        }
        let errors = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("stderr.log"))?;
        let mut command = match network {
            Network::Bridge(bridge) => bridge.command(self.node, &self.binary),
            Network::Switch(_) => Command::new(&self.binary),
        };
        command.args(["serve", "--config"]).arg(self.folder.join("flotilla.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).kill_on_drop(true);
        self.child = Some(command.spawn().with_context(|| format!("starting node {}", self.node))?);
        self.starts += 1;
        Ok(())
    }

    pub fn life(&mut self) -> Life {
        match &mut self.child {
            None => Life::Down,
            Some(child) => match child.try_wait() {
                Ok(None) if self.frozen => Life::Frozen,
                Ok(None) => Life::Running,
                _ => Life::Ended,
            },
        }
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
            child.wait().await?;
        }
        Ok(())
    }

    pub async fn stop(&mut self, limit: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        self.await_end(limit).await
    }

    /// Waits until it has ended well, after somebody asked for it.
    pub async fn await_end(&mut self, limit: Duration) -> Result<()> {
        let child = self.child.as_mut().with_context(|| format!("node {} is not running", self.node))?;
        let ended = tokio::time::timeout(limit, child.wait()).await;
        let status = ended.with_context(|| format!("node {} did not end within {limit:?}", self.node))??;
        self.child = None;
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
