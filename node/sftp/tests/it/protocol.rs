//! The edges of the protocol: the greeting, broken packets, odd lengths.

use std::sync::atomic::Ordering;

use flotilla_sftp::{CloseReason, Feed};

use crate::fixtures::{
    packet::{self, packet, string},
    rig::Rig,
};

async fn closes(rig: &mut Rig, bytes: &[u8]) {
    let fed = rig.try_feed(bytes).await;
    assert!(matches!(fed, Feed::Close(CloseReason::Protocol(_))), "{fed:?}");
}

#[tokio::test]
async fn a_broken_packet_is_answered_by_its_id_and_closes_the_channel() {
    let mut rig = Rig::new().await;
    // A READ whose handle is longer than the packet.
    closes(&mut rig, &packet(5, 77, &[&[0xff, 0xff, 0xff, 0xff]])).await;
    assert_eq!(rig.reply_to(77).await.code(), 5);
}

#[tokio::test]
async fn packets_without_an_id_and_too_long_ones_close_the_channel() {
    for bytes in [&[0, 0, 0, 0][..], &[0, 0, 0, 1, 5], &[0, 4, 4, 1], &[0xff; 8]] {
        let mut rig = Rig::new().await;
        closes(&mut rig, bytes).await;
        assert_eq!(rig.replies_there(), 0);
    }
}

#[tokio::test]
async fn nothing_is_read_after_a_broken_packet() {
    let mut rig = Rig::new().await;
    closes(&mut rig, &[&[0, 0, 0, 0][..], &packet::stat(1, "x")].concat()).await;
    closes(&mut rig, &packet::stat(1, "x")).await;
    assert!(rig.gates.log().is_empty());
}

#[tokio::test]
async fn a_second_greeting_closes_the_channel() {
    let mut rig = Rig::new().await;
    closes(&mut rig, &packet::init()).await;
}

#[tokio::test]
async fn unknown_requests_and_extensions_are_unsupported() {
    let mut rig = Rig::new().await;
    for request in [packet(99, 1, &[]), packet(21, 1, &[b"x"]), packet::extended(1, "copy-data", &[])] {
        rig.feed(&request).await;
        assert_eq!(rig.reply_to(1).await.code(), 8);
    }
}

#[tokio::test]
async fn limits_are_told() {
    let mut rig = Rig::new().await;
    rig.feed(&packet::extended(1, "limits@openssh.com", &[])).await;
    let reply = rig.reply_to(1).await;
    let numbers: Vec<u64> = reply.body.chunks(8).map(|n| u64::from_be_bytes(n.try_into().unwrap())).collect();
    assert_eq!(numbers, [262_144, 261_120, 261_120, 256]);
}

#[tokio::test]
async fn a_read_is_cut_to_the_limit_and_one_of_nothing_is_no_end_of_file() {
    let mut rig = Rig::new().await;
    let handle = rig.open("a", 1).await;
    for cached in [true, false] {
        rig.gates.cached.store(cached, Ordering::Relaxed);
        rig.feed(&packet::read(1, &handle, 0, u32::MAX)).await;
        assert_eq!(rig.reply_to(1).await.data().len(), 261_120);
        rig.feed(&packet::read(2, &handle, 0, 0)).await;
        assert_eq!(rig.reply_to(2).await.data().len(), 0);
        rig.feed(&packet::read(3, &handle, u64::MAX, 10)).await;
        assert_eq!(rig.reply_to(3).await.code(), 1);
    }
}

#[tokio::test]
async fn a_write_beyond_what_a_file_can_hold_and_a_path_too_long_fail() {
    let mut rig = Rig::new().await;
    let handle = rig.open("a", 2).await;
    rig.feed(&packet::write(1, &handle, u64::MAX - 1, b"abc")).await;
    assert_eq!(rig.reply_to(1).await.code(), 4);
    rig.feed(&packet::stat(2, &"x".repeat(5000))).await;
    assert_eq!(rig.reply_to(2).await.text(), "name is too long");
}

#[tokio::test]
async fn names_are_bytes() {
    let mut rig = Rig::new().await;
    rig.feed(&packet(16, 1, &[&string(b"/\xff\xfe")])).await;
    let reply = rig.reply_to(1).await;
    assert_eq!(&reply.body[4..11], b"\0\0\0\x03/\xff\xfe");
}

#[tokio::test]
async fn a_stream_cut_anywhere_is_understood() {
    let mut rig = Rig::new().await;
    let handle = rig.open("a", 2).await;
    let stream = [packet::write(1, &handle, 0, &[9; 300]), packet::close(2, &handle)].concat();
    for piece in stream.chunks(7) {
        rig.feed(piece).await;
    }
    assert_eq!(rig.reply_to(1).await.code(), 0);
    assert_eq!(rig.reply_to(2).await.code(), 0);
}
