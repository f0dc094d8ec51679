//! Commands that an operator gives to a running cluster, and a machine that takes a lost one's place.

use std::process::Stdio;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::{Fleet, prepare};
use crate::net::{Network, Place, Plane};

const COMMAND: Duration = Duration::from_secs(35);

impl Fleet {
    /// The node id at a place: its own number, until the machine was replaced.
    pub fn id_of(&self, place: Place) -> u64 {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)[place - 1]
    }
    pub fn place_of(&self, id: u64) -> Option<Place> {
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.iter().position(|own| *own == id).map(|at| at + 1)
    }

    /// Runs `flotilla` against one node's administration; what it printed.
    pub async fn command(&self, place: Place, arguments: &[&str]) -> Result<String> {
        let endpoint = format!("http://{}", self.network.address(Plane::Admin, place));
        let mut command = Command::new(&self.binary);
        command.env("FLOTILLA_TOKEN", &self.token).args(["--endpoint", &endpoint]).args(arguments);
        run(command, COMMAND).await
    }

    /// Makes the machine at a place a new one: an empty data folder and another identity. Its process has ended.
    pub async fn join_anew(&self, place: Place, token: &str, limit: Duration) -> Result<()> {
        let Network::Bridge(bridge) = &self.network else {
            anyhow::bail!("a machine is replaced in namespaces only: it brings the address that peers know it by");
        };
        let folder = self.folder.join(format!("node{place}"));
        let config = folder.join("flotilla.toml");
        let data = prepare::forget_identity(&config)?;
        empty(&data).with_context(|| format!("emptying {}", data.display()))?;
        let mut join = bridge.command(place, &self.binary);
        join.args(["join", token, "--config"]).arg(&config);
        for other in self.places().filter(|other| *other != place) {
            join.args(["--contact", &crate::net::bridge::Bridge::address(Plane::Peers, other).to_string()]);
        }
        let said = run(join, limit).await?;
        let id = joined_as(&said).with_context(|| format!("join names no node: {said}"))?;
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)[place - 1] = id;
        self.nodes[place - 1].lock().await.condemned = false;
        Ok(())
    }
}

/// The folder stays: a disk may be mounted there.
fn empty(folder: &std::path::Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.symlink_metadata()?.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
    }
    Ok(())
}

/// "joined … as node 4".
fn joined_as(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("as node ")?;
    rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

async fn run(mut command: Command, limit: Duration) -> Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(limit, output).await.with_context(|| format!("no answer in {limit:?}"))??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    ensure!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
    let said = text(&output.stdout);
    Ok(if said.is_empty() { text(&output.stderr) } else { said })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_new_id_is_read_from_what_join_says() {
        assert_eq!(super::joined_as("this machine is in cluster x as node 12, it has no vote yet"), Some(12));
        assert_eq!(super::joined_as("refused"), None);
    }
}
