//! The wall clock of one node: set forward or back, once or to and fro, and set right again.

use anyhow::Result;
use rand::RngExt;
use serde_json::{Value, json};

use super::Nemesis;

const HOUR_MS: i64 = 3_600_000;

impl Nemesis {
    pub(super) async fn wall_clock(&mut self) -> Result<Option<Value>> {
        let node = self.target().await;
        let largest = self.choose(&[100, 2_000, 60_000, HOUR_MS])?;
        let strobe = self.random.random_bool(0.3);
        let mut jumps_ms = Vec::new();
        for _ in 0..if strobe { self.random.random_range(10..40) } else { 1 } {
            let by = self.random.random_range(-largest..=largest);
            jumps_ms.push(by);
            self.world.fleet.set_wall_clock(node, by)?;
            let time = if strobe { self.seconds(0.02, 0.3) } else { self.seconds(1.0, 8.0) };
            self.world.pause_fault(time).await;
        }
        self.world.fleet.set_wall_clock(node, 0)?;
        Ok(Some(json!({"node": node, "jumps_ms": jumps_ms})))
    }
}
