//! Files: lost, stale, broken, phantom and reordered contents.

use flotilla_jepsen::check::Findings;
use flotilla_jepsen::check::files::{Read, Seen, Write, check};

use super::rules;

fn put(content: u64, invoked: u64, returned: u64) -> Write {
    Write { content: Some(content), invoked, returned, failed: false, exclusive: false }
}
fn read(saw: Seen, invoked: u64) -> Read {
    Read { saw, invoked, returned: invoked + 1 }
}
fn found(writes: &[Write], reads: &[Read]) -> Vec<&'static str> {
    let mut findings = Findings::new("files");
    check("/f", writes, reads, &mut findings);
    rules(&findings)
}

const LOST: u64 = u64::MAX;

#[test]
fn acknowledged_content_is_there_until_something_newer_may_have_come() {
    let writes = [put(1, 0, 10), put(2, 20, LOST)];
    assert!(found(&writes, &[read(Seen::Whole(1), 15), read(Seen::Whole(1), 50), read(Seen::Whole(2), 60)]).is_empty());
    assert_eq!(found(&writes, &[read(Seen::Absent, 15)]), ["F-lost"]);
}

#[test]
fn content_older_than_an_acknowledged_one_is_stale() {
    assert_eq!(found(&[put(1, 0, 10), put(2, 20, 30)], &[read(Seen::Whole(1), 40)]), ["F-stale"]);
}

#[test]
fn a_lost_upload_of_an_exclusive_session_may_not_appear_after_a_newer_one() {
    let shared = [put(1, 0, LOST), put(2, 20, 30)];
    assert!(found(&shared, &[read(Seen::Whole(1), 40)]).is_empty(), "without exclusion it may still come");
    let exclusive = shared.map(|write| Write { exclusive: true, ..write });
    assert_eq!(found(&exclusive, &[read(Seen::Whole(1), 40)]), ["F-stale"]);
}

#[test]
fn an_older_content_is_not_seen_again_after_a_newer_one() {
    let writes = [put(1, 0, 10), put(2, 20, LOST)];
    assert_eq!(found(&writes, &[read(Seen::Whole(2), 30), read(Seen::Whole(1), 40)]), ["F-order"]);
}

#[test]
fn broken_unknown_failed_and_future_contents_are_found() {
    let writes = [Write { failed: true, ..put(1, 0, 10) }, put(2, 90, 95)];
    assert_eq!(found(&writes, &[read(Seen::Broken("half of 1".into()), 20)]), ["F-whole"]);
    assert_eq!(found(&writes, &[read(Seen::Whole(7), 20)]), ["F-phantom"]);
    assert_eq!(found(&writes, &[read(Seen::Whole(1), 20)]), ["F-aborted"]);
    assert_eq!(found(&writes, &[read(Seen::Whole(2), 20)]), ["F-future"]);
}

#[test]
fn a_removed_file_may_be_absent_and_may_not_come_back() {
    let remove = Write { content: None, ..put(0, 20, 30) };
    let writes = [put(1, 0, 10), remove];
    assert!(found(&writes, &[read(Seen::Absent, 40)]).is_empty());
    assert_eq!(found(&writes, &[read(Seen::Whole(1), 40)]), ["F-stale"]);
}
