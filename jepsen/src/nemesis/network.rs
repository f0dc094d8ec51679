//! Faults of the network.

use anyhow::Result;
use rand::RngExt;
use rand::seq::SliceRandom;
use serde_json::{Value, json};

use super::Nemesis;
use crate::net::{Cut, Place, Plane, both};

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

    pub(super) async fn clients_only(&mut self) -> Result<Option<Value>> {
        let node = self.any_node();
        let cuts = [Plane::Clients, Plane::Admin].into_iter().flat_map(|plane| both(plane, 0, node)).collect();
        self.hold(cuts, 1.0, 6.0, json!({"node": node})).await
    }

    pub(super) async fn loss(&mut self) -> Result<Option<Value>> {
        let percent = self.random.random_range(5..30);
        let time = self.seconds(2.0, 8.0);
        self.world.fleet.network.lose(percent).await?;
        self.world.pause(time).await;
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
            self.world.pause(rest).await;
        }
        Ok((reset > 0).then(|| json!({"nodes": nodes, "peers_only": peers_only, "times": times, "connections": reset})))
    }

    /// Cuts for a while; at times it flaps.
    async fn hold(&mut self, cuts: Vec<Cut>, from: f64, to: f64, mut what: Value) -> Result<Option<Value>> {
        let flaps = if self.random.random_ratio(1, 4) { self.random.random_range(3..12) } else { 1 };
        let time = self.seconds(from, to) / flaps;
        for _ in 0..flaps {
            self.cuts = cuts.iter().copied().collect();
            self.world.fleet.network.cut(&self.cuts).await?;
            self.world.pause(time).await;
            self.cuts.clear();
            self.world.fleet.network.cut(&self.cuts).await?;
            if flaps > 1 {
                self.world.pause(time).await;
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
