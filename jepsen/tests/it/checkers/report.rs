//! Verdicts and reports out of whole histories.

use std::collections::BTreeMap;

use flotilla_jepsen::check::cluster::{VIEW, View};
use flotilla_jepsen::check::judge::{BROKEN, FAULTS, PROBLEM, judge};
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

/// Two nodes that say the same of the same index.
fn compared(recorder: &Recorder) {
    for node in [1, 2] {
        let view = View { node, start: 1, term: 1, leader: Some(1), applied: 5, hash: Some("a".into()), asked_ns: 0 };
        recorder.observe(VIEW, json!(view));
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
    compared(&recorder);
    recorder.invoke(process, "nemesis.kill", json!(null)).ok(json!({"node": 1}));
    assert_eq!(Verdict::of(&judge(&recorder.records(), Default::default()).unwrap()), Verdict::Valid);
    recorder.invoke(process, "nemesis.kill", json!(null)).info("could not be started again");
    assert_eq!(Verdict::of(&judge(&recorder.records(), Default::default()).unwrap()), Verdict::Unknown);
    recorder.observe(PROBLEM, json!("the suite could not go on"));
    assert_eq!(Verdict::of(&judge(&recorder.records(), Default::default()).unwrap()), Verdict::Unknown);
    recorder.observe(BROKEN, json!({"rule": "S-live", "text": "slot 2 of 2"}));
    assert_eq!(Verdict::of(&judge(&recorder.records(), Default::default()).unwrap()), Verdict::Violated);
}

fn verdict(make: impl Fn(&Recorder)) -> Verdict {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(&folder.path().join("h")).unwrap();
    make(&recorder);
    Verdict::of(&judge(&recorder.records(), Default::default()).unwrap())
}

#[test]
fn a_run_in_which_no_states_were_compared_or_no_slot_was_taken_over_decides_nothing() {
    assert_eq!(verdict(|_| {}), Verdict::Unknown, "no states compared");
    assert_eq!(verdict(compared), Verdict::Valid);
    let wanted = |recorder: &Recorder| {
        compared(recorder);
        recorder.observe(FAULTS, json!(["kill", "pause-holder"]));
    };
    assert_eq!(verdict(wanted), Verdict::Unknown, "it never came to such a pause");
    let paused = |all_taken: bool| {
        verdict(|recorder| {
            wanted(recorder);
            let open = recorder.invoke(recorder.process(), "nemesis.pause-holder", json!(null));
            open.ok(json!({"another_served_and_a_request_waited": true, "others_had_all_slots": all_taken}));
        })
    };
    assert_eq!(paused(false), Verdict::Unknown);
    assert_eq!(paused(true), Verdict::Valid);
}

#[test]
fn questions_that_are_asked_ahead_belong_to_their_session() {
    let doubled = |serves: bool| {
        verdict(|recorder| {
            compared(recorder);
            recorder.observe("W2.limit", json!({"user": "u", "max_sessions": 1}));
            let sessions = [recorder.process(), recorder.process()];
            for session in sessions {
                recorder.invoke(session, "W2.acquire", json!({"user": "u", "node": 1})).ok(json!(null));
            }
            // The first one's question waits while the second serves.
            let ahead = json!({"user": "u", "node": 1, "session": sessions[0]});
            let waits = recorder.invoke(recorder.process(), "W2.ask", ahead);
            recorder.invoke(sessions[1], "W2.ask", json!({"user": "u", "node": 1})).ok(json!(null));
            if serves {
                waits.ok(json!(null))
            } else {
                waits.info("the session is over")
            };
        })
    };
    assert_eq!(doubled(true), Verdict::Violated);
    assert_eq!(doubled(false), Verdict::Unknown, "too few served to say anything");
}
