//! Histories on disk: what is written is read back, pairs are made, EDN is well formed.

use flotilla_jepsen::history::{self, Kind, Recorder, pair, write_edn};
use serde_json::json;

#[test]
fn a_history_is_read_back_as_it_was_recorded_and_paired() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.jsonl");
    let recorder = Recorder::create(&file).unwrap();
    let (first, second, third) = (recorder.process(), recorder.process(), recorder.process());
    let asked = recorder.invoke(first, "W1.get", json!({"user": "a"}));
    let lost = recorder.invoke(second, "W1.update", json!(2));
    recorder.observe("cluster.view", json!({"node": 1}));
    asked.ok(json!("found"));
    let _unanswered = recorder.invoke(third, "W1.delete", json!(null));
    lost.info("timeout");
    recorder.invoke(first, "W1.create", json!(3)).fail("exists");
    recorder.finish().unwrap();

    let records = history::read(&file).unwrap();
    assert_eq!(records, recorder.records());
    let operations = pair(&records).unwrap();
    let outcomes: Vec<_> =
        operations.iter().map(|one| (one.f.as_str(), one.outcome, one.returned == u64::MAX)).collect();
    let expected = [
        ("W1.get", Kind::Ok, false),
        ("W1.update", Kind::Info, true),
        ("W1.delete", Kind::Info, true),
        ("W1.create", Kind::Fail, false),
    ];
    assert_eq!(outcomes, expected);
    assert!(operations[1].answered < u64::MAX && operations[2].answered == u64::MAX);
}

#[test]
fn broken_histories_are_refused_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.jsonl");
    let line = |index: u64, time: u64| json!({"index": index, "type": "invoke", "f": "x", "process": 1, "time": time, "value": null});
    for (text, wrong) in [
        (format!("{}\n{}\n", line(0, 5), line(2, 6)), ":2: index 2"),
        (format!("{}\n{}\n", line(0, 5), line(1, 4)), ":2: time goes back"),
        ("{}\n".to_owned(), ":1 is no record"),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = format!("{:#}", history::read(&file).unwrap_err());
        assert!(error.contains(wrong), "{error}");
    }
    std::fs::write(&file, format!("{}\n{}\n", line(0, 5), line(1, 6))).unwrap();
    let twice = pair(&history::read(&file).unwrap()).unwrap_err();
    assert!(twice.to_string().contains("asks twice"), "{twice}");
}

#[test]
fn edn_quotes_what_edn_has_no_word_for() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(&folder.path().join("h")).unwrap();
    let process = recorder.process();
    let big = u64::MAX;
    recorder.invoke(process, "W1.update", json!({"a b": "say \"hi\"\n", "n": [1, null, true, big]})).info("x");
    recorder.observe("cluster.view", json!(1.5));
    let mut text = Vec::new();
    write_edn(&recorder.records(), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains(":type :invoke :f :W1.update :process 1"), "{text}");
    assert!(text.contains(r#"{"a b" "say \"hi\"\n" :n [1 nil true 18446744073709551615N]}"#), "{text}");
    assert!(text.contains(":process :nemesis") && text.trim_end().ends_with(']'), "{text}");
}
