//! What goes wrong: failed writes, stale handles, ended sessions, lost connections.

use flotilla_sftp::{CloseReason, Config};

use crate::fixtures::{packet, rig::Rig};

const WRITE: u32 = 2;

#[tokio::test]
async fn close_after_a_failed_write_fails_and_the_quota_text_is_told() {
    let mut rig = Rig::new().await;
    let handle = rig.open("a", WRITE).await;
    rig.gates.fail("write a 0");
    rig.feed(&packet::write(1, &handle, 0, b"x")).await;
    rig.feed(&packet::close(2, &handle)).await;
    let write = rig.reply_to(1).await;
    assert_eq!((write.code(), write.text()), (4, "over quota: write a 0".to_owned()));
    let close = rig.reply_to(2).await;
    assert_eq!((close.code(), close.text()), (4, "upload failed before and was not stored: a write failed".to_owned()));
}

#[tokio::test]
async fn a_handle_is_invalid_from_its_close_on_and_does_not_find_its_successor() {
    let mut rig = Rig::new().await;
    let first = rig.open("a", WRITE).await;
    rig.gates.hold("close a");
    rig.feed(&packet::close(1, &first)).await;
    rig.feed(&packet::write(2, &first, 0, b"x")).await;
    assert_eq!(rig.reply_to(2).await.text(), "invalid handle");
    rig.gates.release("close a");
    rig.reply_to(1).await;
    let second = rig.open("b", WRITE).await;
    assert_ne!(first, second);
    rig.feed(&packet::close(3, &first)).await;
    assert_eq!(rig.reply_to(3).await.code(), 4);
    rig.feed(&packet::close(4, &second)).await;
    assert_eq!(rig.reply_to(4).await.code(), 0);
}

#[tokio::test]
async fn the_handle_beyond_the_limit_is_refused_until_one_is_closed() {
    let mut rig = Rig::with(Config { open_handles: 2, ..Config::default() }).await;
    let first = rig.open("a", WRITE).await;
    rig.open("b", WRITE).await;
    rig.feed(&packet::open(1, "c", WRITE)).await;
    assert_eq!(rig.reply_to(1).await.text(), "too many open handles");
    rig.feed(&packet::close(2, &first)).await;
    rig.reply_to(2).await;
    rig.open("c", WRITE).await;
}

#[tokio::test]
async fn requests_on_a_handle_of_the_other_kind_fail() {
    let mut rig = Rig::new().await;
    let file = rig.open("a", WRITE).await;
    rig.feed(&packet::read_dir(1, &file)).await;
    assert_eq!(rig.reply_to(1).await.code(), 4);
    rig.feed(&packet::open_dir(2, "d")).await;
    let directory = rig.reply_to(2).await.handle();
    rig.feed(&packet::read(3, &directory, 0, 1)).await;
    assert_eq!(rig.reply_to(3).await.code(), 4);
}

#[tokio::test]
async fn an_ended_session_closes_the_channel_without_an_answer() {
    let mut rig = Rig::new().await;
    rig.open("a", WRITE).await;
    rig.gates.hold("stat kicked");
    rig.feed(&packet::stat(1, "kicked")).await;
    rig.gates.release("stat kicked");
    assert_eq!(rig.closed().await, CloseReason::SessionOver("kicked".to_owned()));
    rig.gates.wait_for("end abandon a").await;
    assert_eq!(rig.replies_there(), 0);
    assert!(matches!(rig.try_feed(&packet::stat(2, "x")).await, flotilla_sftp::Feed::Close(_)));
}

#[tokio::test]
async fn a_session_that_is_found_to_be_over_on_the_spot_is_told_to_the_loop_once() {
    let mut rig = Rig::new().await;
    rig.open("a", WRITE).await;
    let fed = rig.try_feed(&packet::stat(1, "kicked")).await;
    assert_eq!(fed, flotilla_sftp::Feed::Close(CloseReason::SessionOver("kicked".to_owned())));
    rig.gates.wait_for("end abandon a").await;
    assert_eq!(rig.replies_there(), 0);
    assert!(!rig.is_closed(), "the loop closes the channel, nobody else");
}

#[tokio::test]
async fn a_panic_in_a_job_fails_its_request_only() {
    let mut rig = Rig::new().await;
    rig.feed(&packet::stat(1, "panic")).await;
    let reply = rig.reply_to(1).await;
    assert_eq!((reply.code(), reply.text()), (4, "internal error".to_owned()));
    rig.settle().await;
}

#[tokio::test]
async fn a_lost_connection_abandons_a_file_after_the_write_that_runs_on_it() {
    let mut rig = Rig::new().await;
    let handle = rig.open("a", WRITE).await;
    rig.open("idle", WRITE).await;
    rig.gates.hold("write a 0");
    rig.feed(&packet::write(1, &handle, 0, b"x")).await;
    rig.feed(&packet::write(2, &handle, 0, b"y")).await;
    rig.feed(&packet::close(3, &handle)).await;
    rig.gates.wait_for("begin write a 0").await;
    rig.drop_engine();
    rig.gates.wait_for("end abandon idle").await;
    assert!(!rig.gates.has("begin abandon a"));
    rig.gates.release("write a 0");
    rig.gates.wait_for("end abandon a").await;
    assert!(rig.gates.place("end write a 0") < rig.gates.place("begin abandon a"));
    assert!(!rig.gates.has("begin close a"), "a close that was not begun is not done");
    assert_eq!(rig.gates.log().iter().filter(|line| *line == "begin write a 0").count(), 1);
}

#[tokio::test]
async fn finish_waits_for_what_runs_and_abandons_what_opens_late() {
    let mut rig = Rig::new().await;
    rig.gates.hold("open late");
    rig.feed(&packet::open(1, "late", WRITE)).await;
    rig.gates.wait_for("begin open late").await;
    let gates = rig.gates.clone();
    let (finished, ()) = tokio::join!(rig.finish(), async { gates.release("open late") });
    assert!(finished);
    assert!(rig.gates.has("end abandon late"));
}

#[tokio::test]
async fn finish_is_bounded() {
    let limit = std::time::Duration::from_millis(20);
    let mut rig = Rig::with(Config { finish_limit: limit, ..Config::default() }).await;
    rig.gates.hold("stat hung");
    rig.feed(&packet::stat(1, "hung")).await;
    assert!(!rig.finish().await);
}

#[tokio::test]
async fn a_lost_connection_ends_a_send_that_waits() {
    let mut rig = Rig::new().await;
    let handle = rig.open("a", 1).await;
    rig.set_window(false);
    rig.feed(&packet::read(1, &handle, 0, 10)).await;
    rig.blocked().await;
    assert!(rig.finish().await);
    assert!(rig.gates.has("end abandon a"));
}

/// With its last descriptor a removed file's extents are freed: not on the thread that serves its session, nor under its lock.
#[tokio::test]
async fn a_removed_file_is_let_go_elsewhere_before_its_close_is_answered() {
    let mut rig = Rig::new().await;
    for how in ["close", "abandon"] {
        let path = format!("heavy {how}");
        let handle = rig.open(&path, WRITE).await;
        if how == "close" {
            rig.feed(&packet::close(1, &handle)).await;
            assert_eq!(rig.reply_to(1).await.code(), 0);
        } else {
            rig.finish().await;
        }
        let dropped: Vec<_> = rig.gates.log().into_iter().filter(|line| line.starts_with("dropped")).collect();
        assert_eq!(dropped.last(), Some(&format!("dropped elsewhere {path}")), "{how}");
    }
}
