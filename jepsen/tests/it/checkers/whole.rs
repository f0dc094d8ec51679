//! The newer workloads out of whole histories: the event stream and repeated requests, uploads of one session at a time, uploads
//! through a balancer.

use flotilla_jepsen::check::Findings;
use flotilla_jepsen::check::judge::judge;
use flotilla_jepsen::history::Recorder;
use serde_json::json;

use super::rules;

struct History {
    _folder: tempfile::TempDir,
    recorder: Recorder,
}

fn history() -> History {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(&folder.path().join("h")).unwrap();
    History { _folder: folder, recorder }
}

impl History {
    fn of(&self, checker: &str) -> Findings {
        let all = judge(&self.recorder.records(), Default::default()).unwrap();
        all.into_iter().find(|one| one.checker.starts_with(checker)).unwrap()
    }

    fn change(&self, id: &str, request: &str, status: u64) {
        let asked = json!({"id": id, "request": request, "node": 1});
        self.recorder.invoke(1, "W6.change", asked).ok(json!({"status": status, "index": 5}));
    }

    fn again(&self, request: &str, status: u64) {
        let asked = json!({"id": "again", "request": request, "node": 1});
        self.recorder.invoke(1, "W6.again", asked).ok(json!({"status": status, "index": 5}));
    }

    fn follower(&self, name: &str, events: &[(u64, &str)]) {
        self.recorder.observe("W6.subscribe", json!({"name": name, "after": 0}));
        for (number, id) in events {
            let event = json!([number, format!("h{number}"), id]);
            self.recorder.observe("W6.events", json!({"name": name, "events": [event]}));
        }
    }

    fn put(&self, process: u64, workload: &str, content: u64) -> flotilla_jepsen::history::Open {
        let asked = json!({"path": "/n", "content": content, "size": 100});
        self.recorder.invoke(process, &format!("{workload}.put"), asked)
    }

    fn read(&self, workload: &str, saw: serde_json::Value) {
        self.recorder.invoke(99, &format!("{workload}.read"), json!({"path": "/n"})).ok(json!({"saw": saw}));
    }
}

const A: &str = "folder_created:a";
const B: &str = "folder_updated:a=2";
const END: &str = "folder_created:w6-end";

#[test]
fn a_stream_in_order_passes_and_one_that_repeats_or_leaves_out_does_not() {
    let with = |events: &[(u64, &str)]| {
        let history = history();
        history.change(A, "r1", 201);
        history.change(B, "r2", 200);
        history.change(END, "r3", 201);
        history.follower("one", events);
        history.follower("two", &[(1, A), (2, B), (3, END)]);
        rules(&history.of("W6"))
    };
    assert!(with(&[(1, A), (2, B), (3, END)]).is_empty());
    assert_eq!(with(&[(1, A), (2, B), (2, B), (3, END)]), ["E-unique"]);
    assert_eq!(with(&[(1, A), (3, END)]), ["E-gap"]);
    assert_eq!(with(&[(1, A), (2, B)]), ["E-missing"]);
    assert_eq!(with(&[(1, A), (2, "folder_updated:a=3"), (3, END)]), ["E-equal", "E-reliable"]);
}

#[test]
fn without_the_last_event_nothing_is_decided() {
    let history = history();
    history.change(A, "r1", 201);
    history.follower("one", &[(1, A)]);
    assert!(!history.of("W6").unknown.is_empty());
}

#[test]
fn a_request_that_is_taken_twice_or_answered_differently_is_found() {
    let history = history();
    history.change(A, "r1", 201);
    history.again("r1", 201);
    history.change(END, "r3", 201);
    history.follower("one", &[(1, A), (2, END)]);
    assert!(rules(&history.of("W6")).is_empty());
    history.again("r3", 409);
    assert_eq!(rules(&history.of("W6")), ["I-same"]);
    history.change("folder_created:b", "r4", 409);
    assert_eq!(rules(&history.of("W6")), ["I-once", "I-same"]);
}

/// The older upload was lost with its session, the newer one acknowledged; then the older one is there.
#[test]
fn a_late_publish_of_an_earlier_session_is_found_only_where_sessions_exclude_each_other() {
    let with = |workload: &str, saw: u64| {
        let history = history();
        let older = history.put(1, workload, 10);
        history.put(2, workload, 20).ok(json!(null));
        older.info("no answer");
        history.read(workload, json!({"whole": saw}));
        rules(&history.of(workload))
    };
    assert_eq!(with("W5", 10), ["F-stale"]);
    assert!(with("W5", 20).is_empty());
    assert!(with("W10", 10).is_empty(), "unordered: either may be the last");
}

#[test]
fn an_upload_that_never_succeeds_and_a_slot_left_behind_are_found() {
    let with = |fault: &str, limits: u64, stored: bool| {
        let history = history();
        history.recorder.invoke(9, &format!("nemesis.{fault}"), json!(null)).ok(json!({}));
        let whole = history.recorder.invoke(1, "W10.upload", json!({"path": "/n"}));
        history.put(2, "W10", 10).ok(json!(null));
        if stored {
            whole.ok(json!({"tries": 1, "limits": limits}));
        } else {
            whole.info("gave up");
        }
        rules(&history.of("W10"))
    };
    assert!(with("rolling", 0, true).is_empty());
    assert_eq!(with("rolling", 1, true), ["D-slots"]);
    assert!(with("kill", 1, true).is_empty(), "a killed node's slots wait for its lease");
    assert_eq!(with("kill", 0, false), ["D-failed"]);
}

/// After the recovery nothing excuses a refusal any more, whatever the faults were before it.
#[test]
fn refusals_after_the_recovery_are_judged() {
    let with = |recovered: bool| {
        let history = history();
        history.recorder.invoke(9, "nemesis.kill", json!(null)).ok(json!({}));
        if recovered {
            history.recorder.invoke(9, "nemesis.recover", json!(null)).ok(json!({}));
        }
        let mut records = history.recorder.records();
        let later = |records: &mut Vec<flotilla_jepsen::history::Record>, seconds: u64| {
            let whole = history.recorder.invoke(1, "W10.upload", json!({"path": "/n"}));
            whole.ok(json!({"tries": 2, "limits": 1}));
            let all = history.recorder.records();
            records.extend(all[all.len() - 2..].iter().cloned().map(|mut record| {
                record.time += seconds * 1_000_000_000;
                record
            }));
        };
        later(&mut records, 5);
        let all = judge(&records, Default::default()).unwrap();
        rules(&all.into_iter().find(|one| one.checker.starts_with("W10")).unwrap())
    };
    assert_eq!(with(true), ["D-slots"]);
    assert!(with(false).is_empty(), "the lease of the killed node may still hold it");
}

#[test]
fn a_close_with_ok_after_a_failed_write_and_a_denied_right_password_are_found() {
    let lied = |workload: &str| {
        let history = history();
        history.put(1, workload, 10).ok(json!({"after_failed_write": "Failure: no room"}));
        rules(&history.of(workload))
    };
    assert_eq!(lied("W5"), ["F-close"]);
    assert_eq!(lied("W10"), ["F-close"]);
    let history = history();
    let asked = json!({"user": "u", "node": 1});
    history.recorder.invoke(1, "W2.acquire", asked).fail(json!({"denied": true}));
    assert_eq!(rules(&history.of("W2")), ["S-denied"]);
}

#[test]
fn a_node_that_ends_over_damaged_files_must_say_so() {
    let with = |refused: bool, said: &str, code: Option<i32>| {
        let history = history();
        let told =
            json!({"node": 1, "flipped": ["log"], "refused": refused, "ready": false, "said": said, "code": code});
        history.recorder.invoke(9, "nemesis.flipped-bits", json!(null)).ok(told);
        rules(&history.of("faults"))
    };
    assert!(with(true, "flotilla: log store is damaged: entry 7", Some(1)).is_empty());
    assert!(with(false, "", None).is_empty());
    assert_eq!(with(true, "No such file or directory", Some(1)), ["C-reason"]);
    assert_eq!(with(true, "flotilla: log store is damaged: entry 7", None), ["C-reason"], "a signal");
}

impl History {
    fn sample(&self, bytes: u64) {
        let at_ns = self.recorder.now_ns();
        let sample = json!({"at_ns": at_ns, "bytes": bytes, "files": 1});
        let said = json!({"used_size": 10, "granted_size": 0, "used_files": 1, "granted_files": 0});
        self.recorder.observe("W4.sample", json!({"user": "u", "sample": sample}));
        self.recorder.observe("W4.counted", json!({"user": "u", "sample": sample, "said": said}));
    }

    fn remove(&self, user: &str, node: u64) {
        let asked = json!({"user": user, "path": "/n", "node": node});
        self.recorder.invoke(2, "W4.remove", asked).ok(json!(null));
    }
}

#[test]
fn what_a_power_cut_of_the_storage_brings_back_is_gone_once_the_account_is_changed() {
    let history = history();
    history.recorder.observe("W4.quota", json!({"user": "u", "bytes": 10, "files": 0}));
    history.remove("u", 1);
    history.remove("u", 2);
    history.recorder.invoke(3, "nemesis.storage-power-cut", json!(null)).ok(json!({}));
    history.sample(11);
    history.remove("another", 1);
    history.sample(11);
    history.remove("u", 1);
    history.sample(11);
    assert_eq!(rules(&history.of("W4 quota")), [""; 0], "node 2 may have its epoch still");
    let unknown = |history: &History| history.of("W4 quota").unknown.join("; ").contains("behind a power cut");
    assert!(unknown(&history), "so far nothing behind the cut is judged");
    history.remove("another", 2);
    history.sample(11);
    assert_eq!(rules(&history.of("W4 quota")), [""; 0]);
    history.remove("u", 1);
    history.sample(11);
    assert_eq!(rules(&history.of("W4 quota")), ["Q-bytes", "Q-counted"]);
    assert!(!unknown(&history));
    history.recorder.invoke(3, "nemesis.kill", json!(null)).ok(json!({}));
    history.sample(12);
    assert_eq!(rules(&history.of("W4 quota")).len(), 4, "of a machine the storage's power is none");
}
