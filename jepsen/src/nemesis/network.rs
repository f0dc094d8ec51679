//! Faults of the network.

use std::time::Duration;

use anyhow::{Context, Result};
use rand::RngExt;
use rand::seq::{IteratorRandom, SliceRandom};
use serde_json::{Value, json};

use super::Nemesis;
use crate::admin::Ask;
use crate::net::wire::Quality;
use crate::net::{Cut, Place, Plane, both};

/// Entries after which a node that is behind gets a snapshot: more than are kept for followers.
const LACKS: u64 = 60;
/// The leader keeps what it has sent until it has waited for an answer, for two seconds.
const GIVEN_UP: Duration = Duration::from_millis(2_400);
/// A renewal may have been applied a quarter of a lease before, and the snapshot has to come before the lease is over.
const SHORTER_THAN_A_LEASE: Duration = Duration::from_millis(3_200);
/// The user whose changes fill the log meanwhile.
const FILLS: &str = "fills-the-log";

#[derive(Clone, Copy, Debug)]
enum Shape {
    /// One node from all others.
    One,
    /// Two groups, the larger one with a majority.
    Halves,
    /// The leader alone, or with as few as a minority allows.
    LeaderInMinority,
    /// Two groups that do not see each other, and one node that sees both.
    Bridge,
    /// Each node sees its two neighbours only.
    Ring,
    /// What one node sends is lost, what is sent to it arrives.
    OneWay,
}

impl Nemesis {
    pub(super) async fn partition(&mut self) -> Result<Option<Value>> {
        let shapes = [
            Shape::One,
            Shape::Halves,
            Shape::LeaderInMinority,
            Shape::LeaderInMinority,
            Shape::Bridge,
            Shape::Ring,
            Shape::OneWay,
        ];
        let shape = self.choose(&shapes)?;
        let leader = self.world.fleet.leader().await;
        let cuts = self.cuts_of(shape, leader);
        if cuts.is_empty() {
            return Ok(None);
        }
        self.hold(cuts, 1.0, 10.0, json!({"shape": format!("{shape:?}"), "leader": leader})).await
    }

    pub(super) async fn behind(&mut self) -> Result<Option<Value>> {
        let fleet = std::sync::Arc::clone(&self.world.fleet);
        let Some(leader) = fleet.leader().await else { return Ok(None) };
        let node = fleet.places().filter(|node| *node != leader).choose(&mut self.random).unwrap_or(1);
        let Some(before) = fleet.view(leader).await else { return Ok(None) };
        // Made once.
        let _ = self.world.make_user(FILLS, 0, 0, 0).await;
        let others = fleet.places().filter(|other| *other != node);
        self.cuts = others.flat_map(|other| both(Plane::Peers, node, other)).collect();
        fleet.network.cut(&self.cuts).await?;
        let began = tokio::time::Instant::now();
        let (mut every, mut lacks) = (tokio::time::interval(Duration::from_millis(50)), 0);
        let enough = |lacks: u64| lacks >= LACKS && began.elapsed() >= GIVEN_UP;
        while !enough(lacks) && began.elapsed() < SHORTER_THAN_A_LEASE && !self.world.faults_over() {
            every.tick().await;
            let admin = fleet.admin(leader);
            let body = json!({"username": FILLS, "status": 1, "permissions": {"/": ["*"]}});
            let path = format!("/api/v2/users/{FILLS}");
            // Whether they are answered does not matter: the count tells.
            let changes = (0..4).map(|_| {
                let (path, body) = (path.as_str(), Some(&body));
                let change = Ask { method: "PUT", path, body, ..Ask::default() };
                admin.call(change, Duration::from_millis(500))
            });
            futures::future::join_all(changes).await;
            if let Some(now) = fleet.view(leader).await {
                lacks = now.applied.saturating_sub(before.applied);
            }
        }
        // Whether it was away for long enough is seen in the count of snapshots.
        self.cuts.clear();
        fleet.network.cut(&self.cuts).await?;
        let ms = began.elapsed().as_millis() as u64;
        Ok(Some(json!({"node": node, "entries": lacks, "ms": ms})))
    }

    pub(super) async fn clients_only(&mut self) -> Result<Option<Value>> {
        let node = self.any_node();
        let cuts = [Plane::Clients, Plane::Admin].into_iter().flat_map(|plane| both(plane, 0, node)).collect();
        self.hold(cuts, 1.0, 6.0, json!({"node": node})).await
    }

    pub(super) async fn loss(&mut self) -> Result<Option<Value>> {
        let percent = self.random.random_range(5..30);
        let time = self.seconds(2.0, 8.0);
        self.world.fleet.network.lose(percent).await?;
        self.world.pause_fault(time).await;
        self.world.fleet.network.lose(0).await?;
        Ok(Some(json!({"percent": percent, "ms": time.as_millis() as u64})))
    }

    /// Connections are reset in one or all nodes, a few times in a row; clients' ones too, half of the times.
    pub(super) async fn resets(&mut self) -> Result<Option<Value>> {
        let nodes: Vec<Place> =
            if self.random.random_bool(0.5) { vec![self.any_node()] } else { self.world.fleet.places().collect() };
        let (peers_only, times) = (self.random.random_bool(0.5), self.random.random_range(1..8));
        let mut reset = 0;
        for _ in 0..times {
            for node in &nodes {
                reset += self.world.fleet.network.reset(*node, peers_only).await?;
            }
            let rest = self.seconds(0.05, 0.6);
            self.world.pause_fault(rest).await;
        }
        Ok((reset > 0).then(|| json!({"nodes": nodes, "peers_only": peers_only, "times": times, "connections": reset})))
    }

    /// Late by a LAN's or a continent's time, one node's wires or all.
    pub(super) async fn delay(&mut self) -> Result<Option<Value>> {
        let delay_ms = if self.random.random_bool(0.5) { 0 } else { self.random.random_range(5..150) };
        let jitter_ms = self.random.random_range(5..250);
        self.worsen(Quality { delay_ms, jitter_ms, flipped: 0 }).await
    }

    pub(super) async fn corrupt(&mut self) -> Result<Option<Value>> {
        let flipped = self.random.random_range(5..500);
        self.worsen(Quality { flipped, ..Quality::default() }).await
    }

    async fn worsen(&mut self, quality: Quality) -> Result<Option<Value>> {
        let fleet = std::sync::Arc::clone(&self.world.fleet);
        let wires = fleet.wires.as_ref().context("this run has no wires")?;
        let nodes: Vec<Place> =
            if self.random.random_bool(0.5) { vec![self.any_node()] } else { fleet.places().collect() };
        let time = self.seconds(2.0, 8.0);
        for node in &nodes {
            wires.set(*node, quality).await?;
        }
        self.world.pause_fault(time).await;
        for node in &nodes {
            wires.set(*node, Quality::default()).await?;
        }
        Ok(Some(json!({"nodes": nodes, "quality": quality, "ms": time.as_millis() as u64})))
    }

    /// Cuts for a while; at times it flaps.
    async fn hold(&mut self, cuts: Vec<Cut>, from: f64, to: f64, mut what: Value) -> Result<Option<Value>> {
        let flaps = if self.random.random_ratio(1, 4) { self.random.random_range(3..12) } else { 1 };
        let time = self.seconds(from, to) / flaps;
        for _ in 0..flaps {
            self.cuts = cuts.iter().copied().collect();
            self.world.fleet.network.cut(&self.cuts).await?;
            self.world.pause_fault(time).await;
            self.cuts.clear();
            self.world.fleet.network.cut(&self.cuts).await?;
            if flaps > 1 {
                self.world.pause_fault(time).await;
            }
        }
        what["ms"] = json!(time.as_millis() as u64);
        what["flaps"] = json!(flaps);
        what["cuts"] = json!(cuts.iter().map(|cut| (cut.from, cut.to)).collect::<Vec<_>>());
        Ok(Some(what))
    }

    fn cuts_of(&mut self, shape: Shape, leader: Option<Place>) -> Vec<Cut> {
        let mut nodes: Vec<Place> = self.world.fleet.places().collect();
        nodes.shuffle(&mut self.random);
        let size = nodes.len();
        let minority = (size - 1) / 2;
        let apart = |few: &[Place], rest: &[Place]| {
            few.iter().flat_map(|a| rest.iter().flat_map(|b| both(Plane::Peers, *a, *b))).collect()
        };
        match shape {
            Shape::One => apart(&nodes[..1], &nodes[1..]),
            Shape::Halves => apart(&nodes[..minority], &nodes[minority..]),
            Shape::LeaderInMinority => {
                nodes.sort_by_key(|node| Some(*node) != leader);
                apart(&nodes[..minority], &nodes[minority..])
            }
            Shape::Bridge => {
                let half = (size - 1) / 2;
                apart(&nodes[1..=half], &nodes[half + 1..])
            }
            Shape::Ring => {
                let near = |a: usize, b: usize| (a + 1) % size == b || (b + 1) % size == a;
                let pairs = (0..size).flat_map(|a| (a + 1..size).map(move |b| (a, b)));
                let far = pairs.filter(|(a, b)| !near(*a, *b));
                far.flat_map(|(a, b)| both(Plane::Peers, nodes[a], nodes[b])).collect()
            }
            Shape::OneWay => {
                let from = leader.filter(|_| self.random.random_bool(0.5)).unwrap_or(nodes[0]);
                let others = nodes.into_iter().filter(|to| *to != from);
                others.map(|to| Cut { plane: Plane::Peers, from, to }).collect()
            }
        }
    }
}
