//! Charts of the promises: sessions against their limit, what is stored against its quota.

use std::collections::BTreeMap;

use super::ROWS;
use super::charts::outcome_colour;
use super::svg::{Axis, WIDTH, chart, label, level, line, rect};
use crate::check::quota::Sample;
use crate::history::{Operation, Record};

/// Per user: how many sessions certainly served at each instant, the limit as a line; below, a bar for each session.
pub fn slots(records: &[Record], operations: &[Operation], axis: Axis, bands: &str) -> Vec<(String, String)> {
    let limits = records.iter().filter(|record| record.f == "W2.limit");
    limits
        .filter_map(|record| {
            let (user, limit) = (record.value["user"].as_str()?, record.value["max_sessions"].as_u64()?);
            Some((format!("Sessions of {user}, limit {limit}"), slots_of(user, limit, operations, axis, bands)))
        })
        .collect()
}

/// From the first answer to the asking of the last answered one, by session.
fn certain(user: &str, operations: &[Operation]) -> Vec<(u64, u64, u64)> {
    let mut sessions: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for operation in operations.iter().filter(|operation| operation.asked["user"] == user && operation.is_ok()) {
        match operation.f.as_str() {
            "W2.acquire" => _ = sessions.insert(operation.process, (operation.returned, operation.returned)),
            "W2.ask" => {
                if let Some(session) = sessions.get_mut(&operation.session()) {
                    session.1 = session.1.max(operation.invoked);
                }
            }
            _ => {}
        }
    }
    sessions.into_iter().map(|(process, (from, to))| (process, from, to)).collect()
}

fn slots_of(user: &str, limit: u64, operations: &[Operation], axis: Axis, bands: &str) -> String {
    let sessions = certain(user, operations);
    let mut changes: Vec<(u64, i64)> = sessions.iter().flat_map(|(_, from, to)| [(*from, 1), (*to, -1)]).collect();
    changes.sort_unstable();
    let (mut now, mut most) = (0i64, limit as i64);
    let mut steps = vec![(axis.from, 0)];
    for (at, change) in changes {
        steps.push((at, now));
        now += change;
        most = most.max(now);
        steps.push((at, now));
    }
    let height = 60.0;
    let y = |count: i64| height - count as f64 / (most + 1) as f64 * height;
    let points: Vec<(f64, f64)> = steps.iter().map(|(at, count)| (axis.x(*at), y(*count))).collect();
    let mut text =
        line(&points, "#4e79a7") + &level(y(limit as i64), "#b3261e") + &label(y(limit as i64) + 4.0, "limit");
    // As many rows as are needed so that bars do not overlap.
    let mut rows: Vec<u64> = Vec::new();
    for (process, from, to) in sessions.iter().take(ROWS) {
        let row = rows.iter().position(|end| end < from).unwrap_or_else(|| {
            rows.push(0);
            rows.len() - 1
        });
        rows[row] = *to;
        let top = height + 6.0 + row as f64 * 8.0;
        text += &rect(axis.x(*from), top, axis.x(*to) - axis.x(*from), 6.0, "#6DB6FE", &format!("process {process}"));
    }
    let refused = operations.iter().filter(|one| one.f == "W2.acquire" && one.asked["user"] == user && !one.is_ok());
    for one in refused.take(ROWS) {
        text +=
            &rect(axis.x(one.answered), height + 1.0, 1.0, 4.0, outcome_colour(one.outcome), &one.answer.to_string());
    }
    chart(height + 8.0 + rows.len() as f64 * 8.0, axis, bands, &text)
}

/// Per user: the lower bound of what was stored at each sample, against the quota.
pub fn quotas(records: &[Record], axis: Axis, bands: &str) -> Vec<(String, String)> {
    let quotas = records.iter().filter(|record| record.f == "W4.quota");
    quotas
        .filter_map(|record| {
            let user = record.value["user"].as_str()?;
            let (bytes, files) = (record.value["bytes"].as_u64()?, record.value["files"].as_u64()?);
            let samples = records.iter().filter(|record| record.f == "W4.sample" && record.value["user"] == user);
            let samples: Vec<Sample> =
                samples.filter_map(|record| serde_json::from_value(record.value["sample"].clone()).ok()).collect();
            let (quota, of): (u64, fn(&Sample) -> u64) =
                if bytes != 0 { (bytes, |sample| sample.bytes) } else { (files, |sample| sample.files) };
            let unit = if bytes != 0 { "bytes" } else { "files" };
            Some((format!("Stored for {user}, quota {quota} {unit}"), stored(&samples, quota, of, axis, bands)))
        })
        .collect()
}

fn stored(samples: &[Sample], quota: u64, of: fn(&Sample) -> u64, axis: Axis, bands: &str) -> String {
    let most = samples.iter().map(of).max().unwrap_or(0).max(quota).max(1);
    let height = 110.0;
    let y = |value: u64| height - value as f64 / most as f64 * (height - 8.0);
    let mut text = String::new();
    for pair in samples.windows(2) {
        let (x, to) = (axis.x(pair[0].at_ns), axis.x(pair[1].at_ns));
        let value = of(&pair[0]);
        text += &rect(x, y(value), (to - x).min(WIDTH), height - y(value), "#9ecae9", &value.to_string());
    }
    text += &(level(y(quota), "#b3261e") + &label(y(quota) + 10.0, "quota"));
    chart(height, axis, bands, &text)
}
