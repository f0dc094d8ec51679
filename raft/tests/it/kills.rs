//! A process that writes the log is killed at random, again and again: what it acknowledged is there.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use flotilla_raft::StoreChoice;

use crate::writer::{ARGUMENTS, Dice, Promises, command, stores};

const ROUNDS: u64 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_acknowledged_is_there_in_fifty_rounds_of_fifty() {
    let (moved, moving) = kill(StoreChoice::Sled).await;
    assert!(moved > 0 && moving > 0, "{moved} rounds with a whole move, {moving} kills within one: too few");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_redb_too() {
    kill(StoreChoice::Redb).await;
}

/// Returns the rounds in which sled's log moved, and the kills within a move.
async fn kill(engine: StoreChoice) -> (u64, u64) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let log = dir.path().join("log");
    let seed = flotilla_cluster::new_request_id().0 as u64;
    println!("seed {seed}");
    let (mut dice, mut promises, mut acknowledged) = (Dice::new(seed), Promises::of(engine), 0);
    let (mut store, mut moved, mut moving) = (1, 0, 0);
    let program = std::env::current_exe().expect("this program");
    for round in 0..ROUNDS {
        let mut writer = command(&program, engine, &log, seed.wrapping_add(round), 0)
            .args(ARGUMENTS)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the writer");
        let mut lines = BufReader::new(writer.stdout.take().expect("its output")).lines();
        // Not before it has opened the store, except now and then.
        if !round.is_multiple_of(10) {
            let first = lines.by_ref().map_while(Result::ok).find(|line| line.starts_with("V "));
            promises.hear(&first.expect("its first vote"));
        }
        tokio::time::sleep(Duration::from_millis(dice.below(120))).await;
        writer.kill().expect("killing it");
        writer.wait().expect("its end");
        let before = promises.count();
        moving += u64::from(stores(&log).len() > 1);
        lines.map_while(Result::ok).for_each(|line| promises.hear(&line));
        acknowledged += promises.count().saturating_sub(before);
        promises.check(&log).await.unwrap_or_else(|why| panic!("seed {seed}, round {round}: {why}"));
        if engine == StoreChoice::Sled {
            let [now] = stores(&log)[..] else { panic!("seed {seed}, round {round}: one store is left after an open") };
            moved += u64::from(now > store);
            store = now;
        }
    }
    println!("{acknowledged} entries; {moved} rounds with a whole move, {moving} kills within one");
    assert!(acknowledged > 200, "only {acknowledged} entries were acknowledged: the test shows little");
    (moved, moving)
}
