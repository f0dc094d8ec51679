//! Faults that an operator makes by command: leadership moved, a node drained, a machine replaced by a new one.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rand::RngExt;
use serde_json::{Value, json};

use super::Nemesis;
use crate::cluster::ASKED;
use crate::net::Place;

const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// A partition lasts ten seconds at most, an election follows; a command that fails is given again.
const COMMAND_WITHIN: Duration = Duration::from_secs(45);

impl Nemesis {
    /// Leadership to a node, or to the one that is furthest. Refused, for instance without a quorum, it is no fault.
    pub(super) async fn transfer(&mut self) -> Result<Option<Value>> {
        let (asked, to) = (self.any_node(), self.any_node());
        let id = self.world.fleet.id_of(to).to_string();
        let named = self.random.random_bool(0.5);
        let arguments: &[&str] = if named { &["cluster", "transfer", &id] } else { &["cluster", "transfer"] };
        match self.world.fleet.command(asked, arguments).await {
            Ok(text) => Ok(Some(json!({"asked": asked, "to": named.then_some(to), "said": text}))),
            Err(_) => Ok(None),
        }
    }

    /// A node drains and ends by itself; where nobody can be asked, SIGTERM asks for the same.
    pub(super) async fn drain(&mut self) -> Result<Option<Value>> {
        let fleet = std::sync::Arc::clone(&self.world.fleet);
        let (node, asked) = (self.target().await, self.any_node());
        fleet.may_end(node, ASKED, None).await;
        let drained = fleet.command(asked, &["cluster", "drain", &fleet.id_of(node).to_string()]).await;
        match &drained {
            Ok(_) => fleet.await_end(node, ENDS_WITHIN).await?,
            Err(_) => fleet.stop(node, ENDS_WITHIN).await?,
        }
        let down = self.seconds(0.1, 3.0);
        self.world.pause_fault(down).await;
        fleet.begin(node).await?;
        Ok(Some(json!({"node": node, "asked": asked, "by_command": drained.is_ok()})))
    }

    /// A machine is lost with its disk, or removed while it runs; a new one takes its place under a new id.
    pub(super) async fn replace(&mut self) -> Result<Option<Value>> {
        let fleet = std::sync::Arc::clone(&self.world.fleet);
        let node = self.target().await;
        let lost = self.random.random_bool(0.5);
        if lost {
            fleet.kill(node).await?;
        }
        let mut what = self.replace_machine(node).await?;
        what["lost"] = json!(lost);
        Ok(Some(what))
    }

    /// Removes the node, and lets a new machine join in its place.
    pub(super) async fn replace_machine(&mut self, node: Place) -> Result<Value> {
        let fleet = std::sync::Arc::clone(&self.world.fleet);
        let old = fleet.id_of(node);
        // Said to be removed already: an earlier try whose answer was lost.
        let removed = [format!("node {old} was removed"), format!("node {old} does not exist")];
        let removed = removed.each_ref().map(String::as_str);
        self.ask_others(node, &["cluster", "remove", &old.to_string()], &removed).await.context("remove")?;
        fleet.kill(node).await?;
        let token = self.ask_others(node, &["cluster", "token"], &[]).await.context("token")?;
        fleet.join_anew(node, token.trim(), COMMAND_WITHIN).await.context("join")?;
        fleet.begin(node).await?;
        Ok(json!({"node": node, "old": old, "new": fleet.id_of(node)}))
    }

    /// Half of the times the leader.
    pub(super) async fn target(&mut self) -> Place {
        let leader = self.world.fleet.leader().await;
        if self.random.random_bool(0.5) { leader } else { None }.unwrap_or_else(|| self.any_node())
    }

    /// Gives a command to one of the other nodes after the other, until one has done it or says one of `done`.
    async fn ask_others(&mut self, node: Place, arguments: &[&str], done: &[&str]) -> Result<String> {
        let end = tokio::time::Instant::now() + COMMAND_WITHIN;
        let others: Vec<Place> = self.world.fleet.places().filter(|other| *other != node).collect();
        let mut last = String::new();
        for other in others.iter().cycle() {
            if tokio::time::Instant::now() > end {
                break;
            }
            match self.world.fleet.command(*other, arguments).await {
                Ok(text) => return Ok(text),
                Err(error) => last = format!("{error:#}"),
            }
            if done.iter().any(|text| last.contains(text)) {
                return Ok(last);
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        bail!("{arguments:?} within {COMMAND_WITHIN:?}: {last}")
    }
}
