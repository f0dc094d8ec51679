//! The wall clock of one node: set forward or back, once or to and fro, and set right again.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use rand::RngExt;
use serde_json::{Value, json};

use super::Nemesis;

const HOUR_MS: i64 = 3_600_000;
/// Jumps of this and more can be told from the time that goes by meanwhile.
const FAR_MS: i64 = 30_000;
const DAY_S: i64 = 86_400;

impl Nemesis {
    pub(super) async fn wall_clock(&mut self) -> Result<Option<Value>> {
        let node = self.target().await;
        let largest = self.choose(&[100, 2_000, 60_000, HOUR_MS])?;
        let strobe = self.random.random_bool(0.3);
        let mut written = None;
        let mut jumps_ms = Vec::new();
        for _ in 0..if strobe { self.random.random_range(10..40) } else { 1 } {
            let by = self.random.random_range(-largest..=largest);
            jumps_ms.push(by);
            self.world.fleet.set_wall_clock(node, by)?;
            written.get_or_insert_with(|| self.world.fleet.log_length(node));
            let time = if strobe { self.seconds(0.02, 0.3) } else { self.seconds(1.0, 8.0) };
            self.world.pause_fault(time).await;
        }
        let log = self.world.fleet.log_since(node, written.unwrap_or_default());
        self.world.fleet.set_wall_clock(node, 0)?;
        let far = jumps_ms.iter().all(|by| by.abs() >= FAR_MS);
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() as i64;
        let process_saw_it = log.lines().filter_map(|line| off_by_s(line, now_s)).next_back().filter(|_| far);
        let process_saw_it = process_saw_it.map(|off| off >= FAR_MS / 2_000);
        Ok(Some(json!({"node": node, "jumps_ms": jumps_ms, "process_saw_it": process_saw_it})))
    }
}

/// By how many seconds the time of a line in a log is off from now (seconds since 1970), at most half a day.
fn off_by_s(line: &str, now_s: i64) -> Option<i64> {
    let line: Value = serde_json::from_str(line).ok()?;
    let mut parts = line["time"].as_str()?.get(11..19)?.split(':').map(|part| part.parse::<i64>().ok());
    let of_day = parts.try_fold(0, |sum, part| Some(sum * 60 + part?))?;
    let off = (of_day - now_s).rem_euclid(DAY_S);
    Some(off.min(DAY_S - off))
}

#[cfg(test)]
mod tests {
    use super::off_by_s;

    #[test]
    fn a_log_tells_how_far_its_clock_is_off_also_over_midnight() {
        // 2026-11-27 00:00:10 UTC.
        let now_s = 1_795_737_610;
        let line = |time: &str| format!(r#"{{"time":"{time}","level":"INFO"}}"#);
        let off = |time: &str| off_by_s(&line(time), now_s);
        assert_eq!(off("2026-11-27T00:00:10.250Z"), Some(0));
        assert_eq!(off("2026-11-27T00:00:40.000Z"), Some(30));
        assert_eq!(off("2026-11-26T23:59:40.000Z"), Some(30), "back over midnight");
        assert_eq!(off("2026-11-27T01:00:10.000Z"), Some(3_600));
        assert_eq!(off("2026-11-26T23:00:10.000Z"), Some(3_600));
        assert_eq!(off_by_s("no line of a log", now_s), None);
        assert_eq!(off("soon"), None);
    }
}
