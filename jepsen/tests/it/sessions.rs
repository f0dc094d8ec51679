//! P1 by hand: one slot, three nodes.

use std::time::{Duration, Instant};

use flotilla_jepsen::client::{NoLogin, Sftp};
use flotilla_jepsen::lab::Lab;
use futures::future::join_all;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_session_is_refused_with_the_holder_and_the_slot_is_freed_at_once() {
    let lab = Lab::start(3).await.unwrap();
    lab.user("single", 1, 0, 0).await.unwrap();
    let first = Sftp::login(lab.sftp_port(1), "single").await.unwrap().expect("the first login is let in");
    match Sftp::login(lab.sftp_port(2), "single").await.unwrap() {
        Err(NoLogin::Disconnected(reason)) => {
            assert!(reason.contains("127.0.0.1") && reason.contains("node"), "the refusal names no holder: {reason:?}");
        }
        other => panic!("expected a refusal with a reason, not {:?}", other.err()),
    }
    first.leave().await;
    let before = Instant::now();
    let second = Sftp::login(lab.sftp_port(3), "single").await.unwrap();
    assert!(second.is_ok(), "{:?}\n{}", second.err(), lab.log_tails());
    assert!(before.elapsed() < Duration::from_secs(2), "the slot took {:?} to come free", before.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bursts_on_all_nodes_let_exactly_one_in() {
    let lab = Lab::start(3).await.unwrap();
    lab.user("burst", 1, 0, 0).await.unwrap();
    for round in 0..20 {
        let logins = join_all((0..6).map(|n| Sftp::login(lab.sftp_port(n % 3 + 1), "burst"))).await;
        let live: Vec<Sftp> = logins.into_iter().filter_map(|login| login.unwrap().ok()).collect();
        // Each must be able to obtain an answer now, while all are held.
        let answers = join_all(live.iter().map(|sftp| sftp.raw.stat("/"))).await;
        let served = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!((live.len(), served), (1, 1), "round {round}\n{}", lab.log_tails());
        join_all(live.into_iter().map(Sftp::leave)).await;
    }
}
