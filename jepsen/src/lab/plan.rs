//! A lab before it starts: how many nodes, with which settings, on which file systems.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::{Lab, Mount, ONE_AT_A_TIME, Ports, START, binary, read_until_ready, stderr_of};

/// What a lab is to be, before it starts.
pub struct Plan {
    nodes: usize,
    arguments: Vec<String>,
    settings: Vec<(usize, String)>,
    mounts: Vec<(String, u32)>,
    ports: Option<Ports>,
}

impl Plan {
    pub(super) fn new(nodes: usize) -> Plan {
        Plan { nodes, arguments: Vec::new(), settings: Vec::new(), mounts: Vec::new(), ports: None }
    }

    /// Further arguments for `dev`.
    pub fn arguments(mut self, arguments: &[&str]) -> Plan {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// TOML that a node reads from its `conf.d`.
    pub fn configure(mut self, node: usize, toml: &str) -> Plan {
        self.settings.push((node, toml.to_owned()));
        self
    }

    pub fn configure_all(mut self, toml: &str) -> Plan {
        self.settings.extend((1..=self.nodes).map(|node| (node, toml.to_owned())));
        self
    }

    /// Ports that are claimed already, and TOML for nodes that was made with them.
    pub(super) fn on(mut self, ports: Ports, settings: Vec<(usize, String)>) -> Plan {
        self.ports = Some(ports);
        self.settings.extend(settings);
        self
    }

    /// A file system of `mib` MiB at a path under the lab's folder.
    pub fn mount(mut self, path: &str, mib: u32) -> Plan {
        self.mounts.push((path.to_owned(), mib));
        self
    }

    /// Starts the nodes and waits for `ready`.
    pub async fn start(self) -> Result<Lab> {
        let turn = ONE_AT_A_TIME.lock().await;
        let parent = std::env::var_os("FLOTILLA_LAB_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let folder = tempfile::Builder::new().prefix("flotilla-lab-").tempdir_in(parent)?;
        let mut mounts = Vec::new();
        for (path, mib) in &self.mounts {
            mounts.push((path.clone(), Mount::at(&folder.path().join(path), *mib)?));
        }
        for (node, toml) in &self.settings {
            let conf_d = folder.path().join(format!("node{node}/conf.d"));
            std::fs::create_dir_all(&conf_d)?;
            let number = std::fs::read_dir(&conf_d)?.count();
            std::fs::write(conf_d.join(format!("{number}-lab.toml")), toml)?;
        }
        let ports = match self.ports {
            Some(ports) => ports,
            None => Ports::claim()?,
        };
        let mut dev = Command::new(binary()?)
            .args(["dev", "--nodes", &self.nodes.to_string(), "--port-offset", &ports.offset.to_string(), "--dir"])
            .arg(folder.path())
            .args(&self.arguments)
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
        Ok(Lab { dev, _output: output, nodes, ports, mounts, folder, _turn: turn })
    }
}
