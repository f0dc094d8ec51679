//! Faults of processes: killed, frozen, restarted.

use std::time::Duration;

use anyhow::Result;
use rand::RngExt;
use serde_json::{Value, json};

use super::Nemesis;
use crate::net::Place;
use crate::workload::Serving;

/// TTL(1 + 2ρ) + margin: when an expiry may be proposed, at the earliest.
const EXPIRY: Duration = Duration::from_millis(6_620);
/// The other sessions serve for this long before the thaw, so that the frozen one's client has asked meanwhile.
const OVERLAP: Duration = Duration::from_millis(350);
/// Three lease times.
const LONGEST_PAUSE: Duration = Duration::from_secs(18);
const STOPS_WITHIN: Duration = Duration::from_secs(30);

impl Nemesis {
    pub(super) async fn kill(&mut self) -> Result<Option<Value>> {
        let leader = self.world.fleet.leader().await;
        let node = if self.random.random_bool(0.5) { leader } else { None }.unwrap_or_else(|| self.any_node());
        self.world.fleet.kill(node).await?;
        let killed_ns = self.world.recorder.now_ns();
        // Before the others elect, after that, or after the node's lease has run out.
        let ranges = [(0.05, 0.3), (0.5, 2.0), (7.0, 10.0)];
        let (from, to) = self.choose(&ranges)?;
        let down = self.seconds(from, to);
        self.world.pause_fault(down).await;
        self.world.fleet.begin(node).await?;
        let down_ms = down.as_millis() as u64;
        Ok(Some(json!({"node": node, "leader": Some(node) == leader, "down_ms": down_ms, "killed_ns": killed_ns})))
    }

    pub(super) async fn fast_restart(&mut self) -> Result<Option<Value>> {
        let Some(leader) = self.world.fleet.leader().await else { return Ok(None) };
        self.world.fleet.kill(leader).await?;
        self.world.fleet.begin(leader).await?;
        Ok(Some(json!({"node": leader})))
    }

    pub(super) async fn kill_all(&mut self) -> Result<Option<Value>> {
        for node in self.world.fleet.places() {
            self.world.fleet.kill(node).await?;
        }
        for node in self.world.fleet.places() {
            self.world.fleet.begin(node).await?;
        }
        Ok(Some(json!({})))
    }

    /// One node, half of the times the leader; at times all but one, for which nobody has a quorum.
    pub(super) async fn pause(&mut self) -> Result<Option<Value>> {
        let fleet = std::sync::Arc::clone(&self.world.fleet);
        let leader = fleet.leader().await;
        let node = if self.random.random_bool(0.5) { leader } else { None }.unwrap_or_else(|| self.any_node());
        let all_but_one = self.random.random_ratio(1, 5);
        let nodes: Vec<Place> = fleet.places().filter(|other| (*other == node) != all_but_one).collect();
        let ranges = [(0.1, 1.0), (1.0, 6.0), (6.0, LONGEST_PAUSE.as_secs_f64())];
        let (from, to) = self.choose(&ranges)?;
        let time = self.seconds(from, to);
        for node in &nodes {
            fleet.freeze(*node).await?;
        }
        self.world.pause_fault(time).await;
        for node in &nodes {
            fleet.thaw(*node).await?;
        }
        let leads = leader.is_some_and(|leader| nodes.contains(&leader));
        Ok(Some(json!({"nodes": nodes, "leader": leads, "paused_ms": time.as_millis() as u64})))
    }

    /// Freezes the node of a session of a user with few slots. Its client goes on asking, so a request waits in the frozen node's
    /// socket. Thawed once another session of that user has begun to serve elsewhere and the expiry is past; counts only then.
    pub(super) async fn pause_holder(&mut self) -> Result<Option<Value>> {
        let mut held = self.world.sessions();
        // Of a user with one slot each takeover is one of all slots.
        let one_slot = |session: &Serving| matches!(session.user.as_str(), "w2-1" | "w5");
        let any = held.iter().any(one_slot);
        held.retain(|session| if any { one_slot(session) } else { session.user == "w2-2" });
        if held.is_empty() {
            return Ok(None);
        }
        let victim = held.swap_remove(self.random.random_range(0..held.len()));
        let began_ns = self.world.recorder.now_ns();
        self.world.fleet.freeze(victim.node).await?;
        let began = tokio::time::Instant::now();
        let mut every = tokio::time::interval(Duration::from_millis(50));
        let slots = if victim.user == "w2-2" { 2 } else { 1 };
        // Since when sessions elsewhere fill all slots; the freed one is among them.
        let mut full: Option<tokio::time::Instant> = None;
        let mut takeover = false;
        while began.elapsed() < LONGEST_PAUSE && !self.world.faults_over() {
            every.tick().await;
            let others = self.world.sessions();
            let others = others.iter().filter(|other| other.user == victim.user && other.node != victim.node);
            let since: Vec<u64> = others.map(|other| other.since_ns).collect();
            let is_full = since.len() >= slots && since.iter().any(|since| *since > began_ns);
            full = is_full.then(|| full.unwrap_or_else(tokio::time::Instant::now));
            takeover |= since.iter().any(|since| *since > began_ns);
            if full.is_some_and(|full| full.elapsed() > OVERLAP) && began.elapsed() > EXPIRY {
                break;
            }
        }
        let still_waiting = self.world.sessions().iter().any(|session| session.since_ns == victim.since_ns);
        self.world.fleet.thaw(victim.node).await?;
        let counts = takeover && still_waiting && began.elapsed() > EXPIRY;
        let all_taken = counts && full.is_some_and(|full| full.elapsed() > OVERLAP);
        Ok(Some(json!({
            "node": victim.node, "user": victim.user, "paused_ms": began.elapsed().as_millis() as u64,
            "another_served_and_a_request_waited": counts, "others_had_all_slots": all_taken,
        })))
    }

    pub(super) async fn rolling(&mut self) -> Result<Option<Value>> {
        for node in self.world.fleet.places() {
            self.world.fleet.stop(node, STOPS_WITHIN).await?;
            self.world.fleet.begin(node).await?;
            let end = tokio::time::Instant::now() + STOPS_WITHIN;
            while !self.world.fleet.is_ready(node).await && tokio::time::Instant::now() < end {
                self.world.pause_fault(Duration::from_millis(100)).await;
                if self.world.faults_over() {
                    return Ok(Some(json!({"until": node})));
                }
            }
        }
        Ok(Some(json!({})))
    }
}
