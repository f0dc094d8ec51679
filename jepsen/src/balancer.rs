//! A real HAProxy before a lab's nodes, with the configuration that `deploy/` ships, and real OpenSSH sessions through it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::lab::Lab;

/// HAProxy's own address: the nodes believe its PROXY headers and nobody else's.
pub const BALANCER: &str = "127.0.0.1";

/// What `conf.d` of a node adds so that a balancer can stand before it.
pub fn node_config(node: u16, offset: u16) -> String {
    format!(
        "[sftp]\ntrusted_proxies = [\"{BALANCER}\"]\nlisten = [\n  {{ address = \"127.0.0.1:{}\" }},\n  \
         {{ address = \"127.0.0.1:{}\", proxy_protocol = \"required\" }},\n]\n[health]\nlisten = \"127.0.0.1:{}\"\n",
        2021 + offset + node,
        proxied_port(node, offset),
        health_port(node, offset)
    )
}

fn proxied_port(node: u16, offset: u16) -> u16 {
    2024 + offset + node
}

fn health_port(node: u16, offset: u16) -> u16 {
    7984 + offset + 100 * node
}

/// A running HAProxy. Killed when dropped.
pub struct Balancer {
    process: Child,
    offset: u16,
    folder: PathBuf,
}

impl Balancer {
    /// Starts it on the lab's nodes and waits until it takes connections.
    pub async fn start(lab: &Lab) -> Result<Balancer> {
        let (offset, folder) = (lab.port_offset(), lab.folder().to_owned());
        let process = run(offset, &folder)?;
        let balancer = Balancer { process, offset, folder };
        lab.until(Duration::from_secs(20), "the balancer sees three nodes", async || {
            let up = balancer.states().await.unwrap_or_default();
            Ok(up.iter().filter(|(_, state)| state.starts_with("UP")).count() == lab.size())
        })
        .await?;
        Ok(balancer)
    }

    /// kill -9, and again from the start.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await.context("killing haproxy")
    }
    pub fn restart(&mut self) -> Result<()> {
        self.process = run(self.offset, &self.folder)?;
        Ok(())
    }

    pub fn port(&self) -> u16 {
        port(self.offset)
    }
    /// Where the node itself expects a PROXY header.
    pub fn proxied_port(&self, node: usize) -> u16 {
        proxied_port(node as u16, self.offset)
    }

    /// Name and state of each node as HAProxy sees it, from its statistics.
    pub async fn states(&self) -> Result<Vec<(String, String)>> {
        let address = ("127.0.0.1", stats_port(self.offset));
        let ask = async {
            let mut stream = tokio::net::TcpStream::connect(address).await?;
            stream.write_all(b"GET /;csv HTTP/1.0\r\n\r\n").await?;
            let mut text = String::new();
            tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut text).await?;
            anyhow::Ok(text)
        };
        let text = tokio::time::timeout(Duration::from_secs(5), ask).await.context("haproxy's statistics")??;
        let rows = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let nodes = rows.filter(|row| row.len() > 17 && row[0] == "nodes" && row[1].starts_with("node"));
        Ok(nodes.map(|row| (row[1].to_owned(), row[17].to_owned())).collect())
    }

    /// Whether HAProxy sends new connections to the node.
    pub async fn is_up(&self, node: usize) -> Result<bool> {
        let states = self.states().await?;
        let found = states.iter().find(|(name, _)| *name == format!("node{node}"));
        Ok(found.with_context(|| format!("no node{node} in {states:?}"))?.1.starts_with("UP"))
    }
}

fn port(offset: u16) -> u16 {
    2029 + offset
}

fn stats_port(offset: u16) -> u16 {
    7986 + offset
}

fn run(offset: u16, folder: &Path) -> Result<Child> {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/haproxy/haproxy.cfg");
    let mut command = Command::new("haproxy");
    command
        .args(["-db", "-f"])
        .arg(config)
        .env("FLOTILLA_LB_SOCKET", folder.join("haproxy.sock"))
        .env("FLOTILLA_LB_BIND", format!("127.0.0.1:{}", port(offset)))
        .env("FLOTILLA_LB_STATS", format!("127.0.0.1:{}", stats_port(offset)));
    for node in 1..=3 {
        command
            .env(format!("FLOTILLA_NODE{node}"), format!("127.0.0.1:{}", proxied_port(node, offset)))
            .env(format!("FLOTILLA_HEALTH{node}"), health_port(node, offset).to_string());
    }
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("haproxy.log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    command.spawn().context("HAProxy is needed: apt-get install haproxy")
}

/// OpenSSH's `sftp`, logged in and waiting for commands. Killed when dropped.
pub struct Held {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Held {
    /// Logs in with a key, from an address of this machine.
    pub async fn login(from: &str, port: u16, user: &str, key: &Path) -> Result<Held> {
        let mut process = Command::new("sftp")
            .args(["-b", "-", "-P", &port.to_string(), "-i"])
            .arg(key)
            .args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"])
            .args(["-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", &format!("BindAddress={from}")])
            .arg(format!("{user}@127.0.0.1"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("OpenSSH's sftp is needed: apt-get install openssh-client")?;
        let input = process.stdin.take().context("a pipe was asked for")?;
        let output = BufReader::new(process.stdout.take().context("a pipe was asked for")?).lines();
        let mut held = Held { process, input, output };
        match held.answers().await {
            Ok(()) => Ok(held),
            Err(error) => {
                let _ = held.process.start_kill();
                let left = held.process.wait_with_output().await?;
                bail!("{error:#}: {}", String::from_utf8_lossy(&left.stderr));
            }
        }
    }

    /// Asks the server for something and waits for its answer.
    pub async fn answers(&mut self) -> Result<()> {
        let ask = async {
            self.input.write_all(b"pwd\nls -la\n").await?;
            // The second prompt's echo comes when the first command is answered; the listing has the folder itself.
            while let Some(line) = self.output.next_line().await? {
                if line.ends_with(" ..") || line.ends_with("/..") {
                    return Ok(());
                }
            }
            bail!("the session ended")
        };
        tokio::time::timeout(Duration::from_secs(60), ask).await.context("no answer in 60 s")?
    }

    /// Ends as a client does; whether all its commands succeeded.
    pub async fn leave(self) -> Result<bool> {
        let Held { mut process, input, output: _output } = self;
        drop(input);
        Ok(tokio::time::timeout(Duration::from_secs(60), process.wait()).await.context("sftp does not end")??.success())
    }
}
