//! `docs/metrics.md` lists every metric of the code, and the rules and the board use no other.

use std::collections::BTreeSet;

use crate::tidy::{all_sources, root};

/// Every `flotilla_…` word of a text.
fn names(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.split(|c| !word(c)).filter(|name| name.starts_with("flotilla_")).map(str::to_owned).collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The first argument of every `counter!`, `gauge!` and `histogram!`.
fn of_the_code() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in all_sources() {
        let text = std::fs::read_to_string(&file).unwrap();
        for kind in ["counter", "gauge", "histogram"] {
            for call in text.split(&format!("{kind}!(")).skip(1) {
                let Some(name) = call.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()) else {
                    continue;
                };
                found.insert(name.to_owned());
            }
        }
    }
    found
}

fn of_the_page() -> BTreeSet<String> {
    let page = read("docs/metrics.md");
    names(&page.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next()).collect::<Vec<_>>().join(" "))
}

#[test]
fn page_lists_every_metric_and_no_other() {
    let (code, page) = (of_the_code(), of_the_page());
    assert!(code.len() > 20, "the search found too little: {code:?}");
    let missing: Vec<_> = code.difference(&page).collect();
    let stale: Vec<_> = page.difference(&code).collect();
    assert!(missing.is_empty(), "docs/metrics.md does not list {missing:?}");
    assert!(stale.is_empty(), "docs/metrics.md lists what is not in the code: {stale:?}");
}

#[test]
fn rules_and_board_use_only_metrics_that_exist() {
    let page = of_the_page();
    for file in ["deploy/prometheus/flotilla.rules.yml", "deploy/grafana/flotilla.json"] {
        let used: BTreeSet<_> = names(&read(file));
        assert!(used.len() > 8, "{file}: {used:?}");
        let unknown: Vec<_> = used.difference(&page).collect();
        assert!(unknown.is_empty(), "{file} uses {unknown:?}");
    }
}

#[test]
fn board_is_json_whose_every_panel_asks_something() {
    let board: serde_json::Value = serde_json::from_str(&read("deploy/grafana/flotilla.json")).unwrap();
    let panels = board["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    for panel in panels {
        assert!(panel["targets"][0]["expr"].as_str().is_some_and(|expr| expr.contains("flotilla_")), "{panel}");
    }
}
