//! A client that does not read, or writes faster than the storage takes: bounded memory, no deadlock (`performance.md` H1).

use std::sync::atomic::Ordering;

use flotilla_sftp::{Budget, CloseReason, Config, Feed};

use crate::fixtures::{packet, rig::Rig};

const READ: u32 = 1;
const WRITE: u32 = 2;
const MOST: u32 = 261_120;

fn reads(handle: &[u8], count: u32) -> Vec<u8> {
    (0..count).flat_map(|n| packet::read(n, handle, u64::from(n) * u64::from(MOST), MOST)).collect()
}

#[tokio::test]
async fn feed_never_waits_for_output_and_reads_ahead_a_bounded_amount() {
    let mut rig = Rig::new().await;
    rig.gates.cached.store(true, Ordering::Relaxed);
    let handle = rig.open("a", READ).await;
    rig.set_window(false);
    rig.feed(&reads(&handle, 2000)).await;
    rig.blocked().await;
    // Requests are still taken in, and answered behind the others.
    rig.feed(&packet::stat(5000, "x")).await;
    rig.gates.wait_for("end stat x").await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let ahead = rig.gates.bytes_read.load(Ordering::Relaxed);
    assert!(ahead <= 20 << 20, "{ahead} bytes read ahead of a client that does not read");
    rig.set_window(true);
    let mut data = 0;
    for _ in 0..2001 {
        let reply = rig.reply().await;
        data += if reply.id == 5000 { 0 } else { reply.data().len() };
    }
    assert_eq!(data, 2000 * MOST as usize);
}

#[tokio::test]
async fn what_is_answered_in_one_callback_is_bounded() {
    let mut rig = Rig::new().await;
    rig.gates.cached.store(true, Ordering::Relaxed);
    let handle = rig.open("a", READ).await;
    rig.feed(&reads(&handle, 100)).await;
    assert!(rig.inline_bytes() > 256 << 10 && rig.inline_bytes() <= 512 << 10, "{}", rig.inline_bytes());
    for _ in 0..100 {
        assert_eq!(rig.reply().await.data().len(), MOST as usize);
    }
}

#[tokio::test]
async fn a_client_that_asks_without_end_and_reads_nothing_is_cut_off() {
    let mut rig = Rig::with(Config { outstanding_requests: 500, ..Config::default() }).await;
    let handle = rig.open("a", READ).await;
    rig.set_window(false);
    rig.feed(&reads(&handle, 499)).await;
    let more = [packet::read(600, &handle, 0, 1), packet::read(601, &handle, 0, 1)].concat();
    assert_eq!(rig.try_feed(&more).await, Feed::Close(CloseReason::Overload("requests")));
    rig.gates.wait_for("end abandon a").await;
}

#[tokio::test]
async fn statuses_that_are_not_read_count_too() {
    let mut rig = Rig::with(Config { outstanding_requests: 500, ..Config::default() }).await;
    rig.set_window(false);
    let stats: Vec<u8> = (0..1000).flat_map(|n| packet::close(n, b"none")).collect();
    assert_eq!(rig.try_feed(&stats).await, Feed::Close(CloseReason::Overload("requests")));
}

#[tokio::test]
async fn feed_waits_for_a_stalled_storage_and_goes_on_although_the_output_is_blocked() {
    let mut rig = Rig::with(Config { payload_bytes: 100, ..Config::default() }).await;
    let handle = rig.open("a", WRITE).await;
    rig.set_window(false);
    rig.gates.hold("write a 0");
    let writes: Vec<u8> = (0..8).flat_map(|n| packet::write(n, &handle, u64::from(n) * 30, &[1; 30])).collect();
    let gates = rig.gates.clone();
    // Three payloads fit. The first stands still, so the others pass one by one, although no status can be sent.
    let release = async {
        gates.wait_for("end write a 210").await;
        gates.release("write a 0");
    };
    let (fed, ()) = tokio::join!(crate::fixtures::rig::soon("feed", rig.try_feed(&writes)), release);
    assert_eq!(fed, Feed::Go);
    rig.set_window(true);
    for _ in 0..8 {
        assert_eq!(rig.reply().await.code(), 0);
    }
}

#[tokio::test]
async fn feed_waits_while_no_payload_fits() {
    let mut rig = Rig::with(Config { payload_bytes: 100, ..Config::default() }).await;
    let handle = rig.open("a", WRITE).await;
    rig.gates.hold("write a 0");
    rig.feed(&packet::write(1, &handle, 0, &[1; 100])).await;
    let gates = rig.gates.clone();
    let second = packet::write(2, &handle, 100, &[1; 100]);
    let mut feed = Box::pin(rig.try_feed(&second));
    for _ in 0..100 {
        assert!(futures::poll!(&mut feed).is_pending());
        tokio::task::yield_now().await;
    }
    assert!(!gates.has("begin write a 100"));
    gates.release("write a 0");
    assert_eq!(crate::fixtures::rig::soon("feed", feed).await, Feed::Go);
    rig.reply_to(1).await;
    rig.reply_to(2).await;
}

#[tokio::test]
async fn writes_that_wait_for_unread_replies_end_the_channel_instead_of_hanging_it() {
    let config = Config { payload_bytes: 100, reply_bytes: 1000, unsent_bytes: 100, ..Config::default() };
    let mut rig = Rig::with(config).await;
    let handle = rig.open("a", READ | WRITE).await;
    rig.set_window(false);
    rig.feed(&packet::read(1, &handle, 0, 900)).await;
    rig.gates.wait_for("end read a 0").await;
    // This read waits for room, the overlapping write behind it for the read.
    rig.feed(&packet::read(2, &handle, 1000, 900)).await;
    rig.feed(&packet::write(3, &handle, 1000, &[1; 90])).await;
    let fed = crate::fixtures::rig::soon("feed", rig.try_feed(&packet::write(4, &handle, 1000, &[1; 90]))).await;
    assert!(matches!(fed, Feed::Close(CloseReason::Overload(_))), "{fed:?}");
}

#[tokio::test]
async fn a_session_goes_on_one_request_at_a_time_when_the_node_has_no_room_left() {
    let (node_payloads, node_replies) = (Budget::new(0), Budget::new(0));
    let config = Config { node_payloads, node_replies, ..Config::default() };
    let mut rig = Rig::with(config).await;
    let handle = rig.open("a", READ | WRITE).await;
    let mixed: Vec<u8> = (0..20)
        .flat_map(|n| {
            let at = u64::from(n) * 100;
            [packet::write(n, &handle, at, &[1; 100]), packet::read(100 + n, &handle, at + 10_000, 100)].concat()
        })
        .collect();
    rig.feed(&mixed).await;
    for _ in 0..40 {
        rig.reply().await;
    }
}

#[tokio::test]
async fn the_nodes_room_comes_back_when_all_is_done_and_when_the_session_ends() {
    let (node_payloads, node_replies) = (Budget::new(1 << 20), Budget::new(1 << 20));
    let config =
        Config { node_payloads: node_payloads.clone(), node_replies: node_replies.clone(), ..Config::default() };
    let mut rig = Rig::with(config).await;
    let handle = rig.open("a", READ | WRITE).await;
    rig.feed(&[packet::write(1, &handle, 0, &[1; 1000]), packet::read(2, &handle, 5000, 1000)].concat()).await;
    rig.reply().await;
    rig.reply().await;
    rig.settle().await;
    assert_eq!((node_payloads.free(), node_replies.free()), (1 << 20, 1 << 20));
    rig.set_window(false);
    rig.gates.hold("write a 0");
    rig.feed(&[packet::write(3, &handle, 0, &[1; 1000]), packet::read(4, &handle, 5000, 1000)].concat()).await;
    rig.blocked().await;
    assert!(node_payloads.free() < 1 << 20 && node_replies.free() < 1 << 20);
    rig.gates.release("write a 0");
    assert!(rig.finish().await);
    assert_eq!((node_payloads.free(), node_replies.free()), (1 << 20, 1 << 20));
}

#[tokio::test]
async fn refused_writes_give_their_room_back() {
    let mut rig = Rig::with(Config { payload_bytes: 100, ..Config::default() }).await;
    for id in 0..20 {
        rig.feed(&packet::write(id, b"none", 0, &[1; 60])).await;
        assert_eq!(rig.reply_to(id).await.text(), "invalid handle");
    }
}
