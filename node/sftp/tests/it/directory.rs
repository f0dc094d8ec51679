//! Directories of any size in replies of bounded size (F-09).

use std::{collections::HashSet, sync::atomic::Ordering};

use crate::fixtures::{
    packet::{self, NAME},
    rig::Rig,
};

#[tokio::test]
async fn a_hundred_thousand_long_names_come_in_small_replies_each_once() {
    let mut rig = Rig::new().await;
    rig.gates.entries.store(100_000, Ordering::Relaxed);
    rig.feed(&packet::open_dir(1, "d")).await;
    let handle = rig.reply_to(1).await.handle();
    let mut names = HashSet::new();
    let mut first = Vec::new();
    loop {
        rig.feed(&packet::read_dir(2, &handle)).await;
        let reply = rig.reply_to(2).await;
        if reply.kind != NAME {
            assert_eq!(reply.code(), 1);
            break;
        }
        assert!(reply.body.len() <= 200 << 10, "{}", reply.body.len());
        let told = reply.names();
        assert!(!told.is_empty() && told.len() <= 100);
        first.extend(told.iter().take(2 - first.len().min(2)).cloned());
        names.extend(told);
    }
    assert_eq!(first, [b".".to_vec(), b"..".to_vec()]);
    assert_eq!(names.len(), 100_002);
    assert!(rig.gates.largest_batch.load(Ordering::Relaxed) <= 100);
    rig.feed(&packet::close(3, &handle)).await;
    assert_eq!(rig.reply_to(3).await.code(), 0);
}

#[tokio::test]
async fn pipelined_readdirs_of_one_handle_are_answered_in_turn() {
    let mut rig = Rig::new().await;
    rig.gates.entries.store(250, Ordering::Relaxed);
    rig.feed(&packet::open_dir(1, "d")).await;
    let handle = rig.reply_to(1).await.handle();
    let requests: Vec<u8> = (10..14).flat_map(|id| packet::read_dir(id, &handle)).collect();
    rig.feed(&requests).await;
    let counts = [rig.reply_to(10).await, rig.reply_to(11).await, rig.reply_to(12).await].map(|reply| reply.number());
    assert_eq!(counts, [100, 100, 52]);
    assert_eq!(rig.reply_to(13).await.code(), 1);
}
