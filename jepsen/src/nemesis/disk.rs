//! Faults of disks.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use rand::RngExt;
use serde_json::{Value, json};

use super::Nemesis;
use crate::cluster::Disk;
use crate::net::Place;

/// A node in a cluster that is used syncs several times a second.
const FAILS_WITHIN: Duration = Duration::from_secs(20);
/// What it says then: a snapshot is asked for again, a move of the log tried again, each in another file.
const GIVES_UP_A_FILE: [&str; 2] = ["snapshot_not_received", "log_move_failed"];

/// A node that met a full disk has ended this long after there is room again.
const ENDS_AFTER: Duration = Duration::from_secs(10);

impl Nemesis {
    pub(super) async fn power_cut(&mut self) -> Result<Option<Value>> {
        let fleet = Arc::clone(&self.world.fleet);
        let nodes: Vec<Place> = if self.random.random_ratio(1, 3) {
            fleet.places().collect()
        } else {
            let leader = fleet.leader().await;
            vec![if self.random.random_bool(0.5) { leader } else { None }.unwrap_or_else(|| self.any_node())]
        };
        // All processes end before any comes back.
        for node in &nodes {
            fleet.kill(*node).await?;
        }
        let (mut pages, mut names) = (0, 0);
        for node in &nodes {
            let lost = fleet.cut_power(*node, &mut self.random).await?;
            (pages, names) = (pages + lost.pages, names + lost.names);
        }
        let down = self.seconds(0.1, 2.0);
        self.world.pause_fault(down).await;
        for node in &nodes {
            fleet.begin(*node).await?;
        }
        Ok(Some(json!({"nodes": nodes, "lost_pages": pages, "lost_names": names})))
    }

    /// The storage and all machines lose power at once: each upload that was acknowledged is there afterwards, each removal too.
    pub(super) async fn storage_power_cut(&mut self) -> Result<Option<Value>> {
        let fleet = Arc::clone(&self.world.fleet);
        for node in fleet.places() {
            fleet.kill(node).await?;
        }
        let lost = fleet.cut_storage(&mut self.random)?;
        for node in fleet.places().filter(|node| fleet.fault_disk(*node).is_ok()) {
            fleet.cut_power(node, &mut self.random).await?;
        }
        for node in fleet.places() {
            fleet.begin(node).await?;
        }
        Ok(Some(json!({"lost_pages": lost.pages, "lost_names": lost.names})))
    }

    /// After the failure nobody knows what is on the disk: what the node goes on with must come from the others. Only where the sync was
    /// of a file that the log does not need, and that is given up with a word, does it go on.
    pub(super) async fn sync_error(&mut self) -> Result<Option<Value>> {
        let fleet = Arc::clone(&self.world.fleet);
        let node = self.any_node();
        fleet.may_end(node, "sync-error", None).await;
        let told = fleet.log_length(node);
        fleet.fault_disk(node)?.fail_syncs(1);
        let end = tokio::time::Instant::now() + FAILS_WITHIN;
        let mut every = tokio::time::interval(Duration::from_millis(50));
        while !fleet.has_ended(node).await {
            every.tick().await;
            if tokio::time::Instant::now() > end {
                let to_come = fleet.fault_disk(node)?.fail_syncs(0);
                if to_come > 0 {
                    fleet.must_live(node).await;
                    return Ok(None);
                }
                if GIVES_UP_A_FILE.iter().any(|event| fleet.log_since(node, told).contains(event)) {
                    fleet.must_live(node).await;
                    return Ok(Some(json!({"node": node, "gave_up_a_file": true})));
                }
                bail!("node {node} goes on {FAILS_WITHIN:?} after a sync of its disk failed");
            }
        }
        let lost = fleet.cut_power(node, &mut self.random).await?;
        fleet.begin(node).await?;
        Ok(Some(json!({"node": node, "lost_pages": lost.pages, "lost_names": lost.names})))
    }

    pub(super) async fn slow_disk(&mut self) -> Result<Option<Value>> {
        let fleet = Arc::clone(&self.world.fleet);
        let leader = fleet.leader().await;
        let node = if self.random.random_bool(0.5) { leader } else { None }.unwrap_or_else(|| self.any_node());
        let ranges = [(0.01, 0.1), (0.1, 0.5), (0.5, 2.0)];
        let (from, to) = self.choose(&ranges)?;
        let (by, time) = (self.seconds(from, to), self.seconds(2.0, 8.0));
        fleet.fault_disk(node)?.slow_down(by);
        self.world.pause_fault(time).await;
        fleet.fault_disk(node)?.slow_down(Duration::ZERO);
        Ok(Some(json!({"node": node, "by_ms": by.as_millis() as u64, "ms": time.as_millis() as u64})))
    }

    /// A node whose disk is full ends by itself, with a reason; with room again it goes on where it was. Uploads to a full storage
    /// fail, and leave nothing behind.
    pub(super) async fn disk_full(&mut self) -> Result<Option<Value>> {
        let fleet = Arc::clone(&self.world.fleet);
        let node = self.any_node();
        let whole = self.random.random_bool(0.5);
        let disk = if whole { Disk::Node(node) } else { Disk::Storage };
        let time = self.seconds(1.0, 8.0);
        if whole {
            fleet.may_end(node, "disk-full", Some(time + ENDS_AFTER)).await;
        }
        let filling = Arc::clone(&fleet);
        let filled = tokio::task::spawn_blocking(move || filling.fill(disk)).await??;
        self.world.pause_fault(time).await;
        fleet.empty(disk)?;
        let mut ended = false;
        if let Disk::Node(node) = disk {
            ended = fleet.has_ended(node).await;
            fleet.begin(node).await?;
        }
        let what = format!("{disk:?}");
        Ok(Some(json!({"disk": what, "bytes": filled, "ms": time.as_millis() as u64, "node_ended": ended})))
    }
}
