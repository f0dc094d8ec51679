//! Charts that every run has: faults, leaders, rates, latencies.

use std::collections::BTreeMap;

use super::ROWS;
use super::svg::{Axis, chart, colour, label, rect};
use crate::check::cluster::{VIEW, View};
use crate::history::{Kind, Operation, Record};

const OK: &str = "#6DB6FE";
const INFO: &str = "#FFAA26";
const FAIL: &str = "#FEB5DA";

pub fn outcome_colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Ok => OK,
        Kind::Fail => FAIL,
        Kind::Info | Kind::Invoke => INFO,
    }
}

fn of_clients(operations: &[Operation]) -> impl Iterator<Item = &Operation> {
    operations.iter().filter(|operation| !operation.f.starts_with("nemesis."))
}

/// A row per kind of fault, a bar per fault, its parameters as title.
pub fn faults(operations: &[Operation], axis: Axis) -> String {
    let mut rows: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        if let Some(name) = operation.f.strip_prefix("nemesis.") {
            rows.entry(name).or_default().push(operation);
        }
    }
    let mut text = String::new();
    for (row, (name, made)) in rows.iter().enumerate() {
        let y = row as f64 * 18.0;
        text += &label(y + 12.0, name);
        for one in made {
            let (x, to) = (axis.x(one.invoked), axis.x(one.answered));
            let title = format!("{:.2} s: {}", one.invoked as f64 / 1e9, one.answer);
            let fill = if one.outcome == Kind::Info { "#b3261e" } else { colour(name) };
            text += &rect(x, y + 2.0, to - x, 13.0, fill, &title);
        }
    }
    chart(rows.len() as f64 * 18.0, axis, "", &text)
}

/// A row per node: which leader it saw. A change of colour is a change of leader, the title has the term.
pub fn leaders(records: &[Record], axis: Axis, bands: &str) -> String {
    let colours = ["#888", "#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#e15759", "#76b7b2", "#9c755f"];
    let mut rows: BTreeMap<u64, Vec<(u64, View)>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.f == VIEW) {
        if let Ok(view) = serde_json::from_value::<View>(record.value.clone()) {
            rows.entry(view.node).or_default().push((record.time, view));
        }
    }
    let mut text = String::new();
    for (row, (node, views)) in rows.iter().enumerate() {
        let y = row as f64 * 18.0;
        text += &label(y + 12.0, &format!("node {node} sees"));
        for same in views.chunk_by(|(_, a), (_, b)| (a.leader, a.term) == (b.leader, b.term)) {
            let ((from, first), (to, _)) = (&same[0], &same[same.len() - 1]);
            let title = format!("term {}, leader {:?}", first.term, first.leader);
            let fill = first.leader.map_or("#ddd", |leader| colours[leader as usize % colours.len()]);
            text += &rect(axis.x(*from), y + 2.0, axis.x(*to) - axis.x(*from), 13.0, fill, &title);
        }
    }
    chart(rows.len() as f64 * 18.0, axis, bands, &text)
}

/// Answered operations per second, stacked by outcome.
pub fn rates(operations: &[Operation], axis: Axis, bands: &str) -> String {
    const SECOND: u64 = 1_000_000_000;
    let mut buckets: BTreeMap<u64, [u64; 3]> = BTreeMap::new();
    for operation in of_clients(operations).filter(|operation| operation.answered != u64::MAX) {
        let bucket = buckets.entry(operation.answered / SECOND).or_default();
        bucket[match operation.outcome {
            Kind::Ok => 0,
            Kind::Fail => 1,
            _ => 2,
        }] += 1;
    }
    let most = buckets.values().map(|bucket| bucket.iter().sum::<u64>()).max().unwrap_or(1).max(1);
    let height = 120.0;
    let mut text = label(10.0, &format!("{most}/s"));
    for (second, bucket) in &buckets {
        let (x, to) = (axis.x(second * SECOND), axis.x((second + 1) * SECOND));
        let mut y = height;
        for (count, fill) in bucket.iter().zip([OK, FAIL, INFO]) {
            let part = *count as f64 / most as f64 * height;
            y -= part;
            if *count > 0 {
                text += &rect(x, y, to - x - 0.5, part, fill, &format!("{count}/s"));
            }
        }
    }
    chart(height, axis, bands, &text)
}

/// A point per operation, with the quantiles of each kind of operation as text.
pub fn latencies(operations: &[Operation], axis: Axis, bands: &str) -> String {
    let height = 220.0;
    let y = |ns: u64| height - ((ns.max(1_000) as f64).log10() - 3.0) / 8.0 * height;
    let mut text = String::new();
    for (ns, name) in [
        (1_000_000, "1 ms"),
        (10_000_000, "10 ms"),
        (100_000_000, "100 ms"),
        (1_000_000_000, "1 s"),
        (10_000_000_000, "10 s"),
    ] {
        text += &label(y(ns) + 4.0, name);
        text += &super::svg::level(y(ns), "#0002");
    }
    let answered: Vec<&Operation> = of_clients(operations).filter(|operation| operation.answered != u64::MAX).collect();
    let every = answered.len().div_ceil(ROWS).max(1);
    for operation in answered.iter().step_by(every) {
        let fill = outcome_colour(operation.outcome);
        let (x, y) = (axis.x(operation.invoked), y(operation.answered - operation.invoked));
        text += &format!("<circle cx={x:.1} cy={y:.1} r=1.4 fill={fill} />");
    }
    let mut kinds: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for operation in answered.iter().filter(|operation| operation.is_ok()) {
        kinds.entry(&operation.f).or_default().push(operation.answered - operation.invoked);
    }
    let mut table = String::from("<table><tr><th>ok<th>number<th>p50 ms<th>p95<th>p99<th>most");
    for (name, times) in &mut kinds {
        times.sort_unstable();
        let at = |share: f64| times[((times.len() as f64 * share) as usize).min(times.len() - 1)] as f64 / 1e6;
        table += &format!("<tr><td>{name}<td>{}", times.len());
        for share in [0.5, 0.95, 0.99, 1.0] {
            table += &format!("<td>{:.1}", at(share));
        }
    }
    chart(height, axis, bands, &text) + &table + "</table>"
}
