//! Verdicts and reports out of whole histories.

use std::collections::BTreeMap;

use flotilla_jepsen::check::judge::{PROBLEM, judge};
use flotilla_jepsen::history::Recorder;
use flotilla_jepsen::report::page;
use flotilla_jepsen::run::{About, Verdict};
use serde_json::json;

fn about() -> About {
    About {
        seed: 7,
        seconds: 1,
        nodes: 3,
        network: "namespaces".into(),
        workloads: vec!["W2".into()],
        faults: vec!["kill".into()],
        skipped: BTreeMap::from([("loss".to_owned(), "no <nft>".to_owned())]),
        binary: "flotilla".into(),
        binary_sha256: "00".into(),
        version: "0".into(),
    }
}

/// Two sessions of a user with one slot that serve at the same time.
fn doubled(recorder: &Recorder) {
    recorder.observe("W2.limit", json!({"user": "u", "max_sessions": 1}));
    let (one, two) = (recorder.process(), recorder.process());
    let asked = json!({"user": "u", "node": 1});
    for process in [one, two] {
        recorder.invoke(process, "W2.acquire", asked.clone()).ok(json!(null));
    }
    for process in [one, two, one, two] {
        recorder.invoke(process, "W2.ask", asked.clone()).ok(json!(null));
    }
}

#[test]
fn a_doubled_session_is_a_violation_with_a_magnified_report() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(&folder.path().join("h")).unwrap();
    doubled(&recorder);
    let records = recorder.records();
    let findings = judge(&records, Default::default()).unwrap();
    assert_eq!(Verdict::of(&findings), Verdict::Violated, "{findings:?}");
    let html = page(&records, &about(), &findings).unwrap();
    for part in
        ["<h1 class=violated>", "First violation: S-safe", "Sessions of u, limit 1", "no &lt;nft&gt;", "</html>"]
    {
        assert!(html.contains(part), "no {part:?} in the page");
    }
    assert!(!html.contains("<script") && !html.contains("http"), "the page needs something from elsewhere");
}

#[test]
fn what_was_not_decided_or_did_not_recover_is_not_green() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(&folder.path().join("h")).unwrap();
    let process = recorder.process();
    recorder.invoke(process, "nemesis.kill", json!(null)).ok(json!({"node": 1}));
    assert_eq!(Verdict::of(&judge(&recorder.records(), Default::default()).unwrap()), Verdict::Valid);
    recorder.invoke(process, "nemesis.kill", json!(null)).info("could not be started again");
    assert_eq!(Verdict::of(&judge(&recorder.records(), Default::default()).unwrap()), Verdict::Unknown);
    recorder.observe(PROBLEM, json!("S-live: slot 2 of 2"));
    assert_eq!(Verdict::of(&judge(&recorder.records(), Default::default()).unwrap()), Verdict::Violated);
}
