//! Reports: one self-contained page per run, without scripts, without anything from elsewhere.

mod charts;
mod domains;
mod svg;
mod zoom;

use anyhow::Result;

use crate::check::Findings;
use crate::check::judge::disturbances;
use crate::history::{Record, pair};
use crate::run::{About, Verdict};
use svg::{Axis, escape};

/// Longest list of one kind that a page holds.
const ROWS: usize = 20_000;

/// The page as HTML.
pub fn page(records: &[Record], about: &About, findings: &[Findings]) -> Result<String> {
    let operations = pair(records)?;
    let end = records.last().map_or(1, |last| last.time).max(1);
    let axis = Axis { from: 0, to: end };
    let bands = svg::bands(&disturbances(records, &operations), axis);
    let mut body = head(about, findings);
    body += &section("Faults", &charts::faults(&operations, axis));
    body += &section("Leader and term", &charts::leaders(records, axis, &bands));
    body += &section("Operations per second", &charts::rates(&operations, axis, &bands));
    body += &section("Latency (log scale)", &charts::latencies(&operations, axis, &bands));
    for (title, chart) in domains::slots(records, &operations, axis, &bands) {
        body += &section(&title, &chart);
    }
    for (title, chart) in domains::quotas(records, axis, &bands) {
        body += &section(&title, &chart);
    }
    let first = findings.iter().flat_map(|one| &one.violations).filter(|one| one.at_ns > 0).min_by_key(|one| one.at_ns);
    if let Some(first) = first {
        let title = format!("First violation: {} at {:.3} s", first.rule, first.at_ns as f64 / 1e9);
        body += &section(&title, &format!("<p>{}</p>{}", escape(&first.text), zoom::around(&operations, first.at_ns)));
    }
    Ok(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>flotilla-jepsen, seed {}</title><style>{STYLE}</style><body>{body}</body></html>\n",
        about.seed
    ))
}

const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;margin:2em auto;max-width:1240px;color:#222}\
    h2{font-size:1.05em;margin:1.6em 0 .3em}table{border-collapse:collapse}td,th{padding:.15em .8em .15em 0;text-align:left;vertical-align:top}\
    .valid{color:#1b7f3b}.violated{color:#b3261e}.unknown{color:#a15c00}svg{display:block;background:#fff}svg text{font:11px system-ui,sans-serif}";

fn section(title: &str, content: &str) -> String {
    format!("<section><h2>{}</h2>{content}</section>\n", escape(title))
}

fn head(about: &About, findings: &[Findings]) -> String {
    let verdict = Verdict::of(findings);
    let class = format!("{verdict:?}").to_lowercase();
    let mut text = format!("<h1 class={class}>{verdict:?}</h1><table>");
    let rows = [
        ("seed", about.seed.to_string()),
        ("time", format!("{} s", about.seconds)),
        ("nodes", format!("{}, {}", about.nodes, about.network)),
        ("workloads", about.workloads.join(", ")),
        ("faults", about.faults.join(", ")),
        ("binary", format!("{} {} sha256 {}", about.version, about.binary, about.binary_sha256)),
    ];
    for (name, value) in rows {
        text += &format!("<tr><th>{name}<td>{}", escape(&value));
    }
    for (fault, why) in &about.skipped {
        text += &format!("<tr><th>skipped<td>{}: {}", escape(fault), escape(why));
    }
    text += "</table><table><tr><th>checker<th>checked<th>verdict<th>counts";
    for one in findings {
        let class = format!("{:?}", Verdict::of(std::slice::from_ref(one))).to_lowercase();
        let counts: Vec<String> = one.counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
        let checker = escape(&one.checker);
        text +=
            &format!("<tr><td>{checker}<td>{}<td class={class}>{class}<td>{}", one.checked, escape(&counts.join(", ")));
        for violation in &one.violations {
            let at = violation.at_ns as f64 / 1e9;
            text +=
                &format!("<tr><td><td>{at:.3} s<td class=violated>{}<td>{}", violation.rule, escape(&violation.text));
        }
        for unknown in &one.unknown {
            text += &format!("<tr><td><td><td class=unknown>unknown<td>{}", escape(unknown));
        }
    }
    text + "</table>"
}
