//! Uploads that do not fit together, on one, two and three nodes: exactly as many succeed as the protocol promises (`PROTOCOL.md` 5).

use std::sync::Arc;

use flotilla_model::{Account, Amount};
use flotilla_session::ledger::{AccountHandle, Progress, QuotaRefused};
use flotilla_vfs::NoGuard;

use crate::fleet::{Fleet, FleetNode};

const MIB: u64 = 1 << 20;
const CHUNK: u64 = 256 << 10;
const SEEDS: u64 = 200;

/// More schedules by hand: `FLOTILLA_SEEDS=5000 cargo test -p flotilla-session shortage`.
fn seeds() -> u64 {
    std::env::var("FLOTILLA_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS)
}

/// Uploads as a session does: charge, write, publish; or discard and give back.
async fn upload(fleet: &Fleet, account: &AccountHandle, size: u64) -> Result<(), QuotaRefused> {
    let guard = NoGuard::shared();
    let charge = account.charge();
    fleet.dice.pause(2_000).await;
    let mut written = 0;
    loop {
        let chunk = CHUNK.min(size - written);
        let files = u64::from(written == 0);
        if let Err(refused) = charge.raise(chunk, files, &guard).await {
            fleet.dice.pause(2_000).await;
            charge.give_back();
            return Err(refused);
        }
        fleet.dice.pause(400).await;
        written += chunk;
        if written == size {
            break;
        }
    }
    charge.publish();
    charge.give_back();
    Ok(())
}

/// Each upload in a session of its own. Returns how many were answered OK.
async fn run(seed: u64, nodes: u64, quota: (u64, u64), uploads: &[(usize, u64)]) -> usize {
    let fleet = Fleet::start(seed, nodes);
    fleet.create("demo", quota.0, quota.1);
    let tasks: Vec<_> = uploads
        .iter()
        .map(|(node, size)| {
            let (fleet, node, size) = (Arc::clone(&fleet), Arc::clone(&fleet.nodes[*node]), *size);
            tokio::spawn(async move { one_session(&fleet, &node, size).await })
        })
        .collect();
    let mut succeeded = 0;
    let mut stored = Amount::ZERO;
    for (task, (_, size)) in tasks.into_iter().zip(uploads) {
        match task.await.unwrap() {
            Ok(()) => {
                succeeded += 1;
                stored += Amount::of(*size, 1);
            }
            Err(QuotaRefused::Exceeded(text)) => assert!(text.starts_with("quota exceeded"), "seed {seed}: {text}"),
            Err(other) => panic!("seed {seed}: {other}"),
        }
    }
    let row = fleet.account("demo");
    assert_eq!((row.used, row.outstanding()), (stored, Amount::ZERO), "seed {seed}: settled to the byte");
    assert!(row.holders.is_empty() && row.waiters.is_empty() && !row.marked, "seed {seed}: {row:?}");
    let limits = flotilla_model::Limits::of(quota.0, quota.1);
    fleet.assert_taken_within(Amount::new(limits.bytes, limits.files));
    succeeded
}

async fn one_session(fleet: &Fleet, node: &Arc<FleetNode>, size: u64) -> Result<(), QuotaRefused> {
    let (session, account) = node.open("demo").await;
    let result = upload(fleet, &account, size).await;
    account.leave().await;
    node.close(session).await;
    result
}

/// Runs one case under many schedules, each in virtual time.
fn always(expected: usize, nodes: u64, quota: (u64, u64), uploads: &[(usize, u64)]) {
    at_least_and_most(expected, expected, nodes, quota, uploads);
}

fn at_least_and_most(least: usize, most: usize, nodes: u64, quota: (u64, u64), uploads: &[(usize, u64)]) {
    for seed in 1..=seeds() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let succeeded = runtime.block_on(async {
            tokio::time::timeout(std::time::Duration::from_secs(300), run(seed, nodes, quota, uploads))
                .await
                .unwrap_or_else(|_| panic!("seed {seed}: stuck"))
        });
        assert!((least..=most).contains(&succeeded), "seed {seed}: {succeeded} succeeded");
    }
}

#[test]
fn of_two_six_mebibyte_uploads_into_ten_on_two_nodes_exactly_one_succeeds() {
    always(1, 2, (10 * MIB, 0), &[(0, 6 * MIB), (1, 6 * MIB)]);
}

#[test]
fn of_two_nine_mebibyte_uploads_into_ten_on_two_nodes_exactly_one_succeeds() {
    always(1, 2, (10 * MIB, 0), &[(0, 9 * MIB), (1, 9 * MIB)]);
}

#[test]
fn of_two_uploads_on_one_node_exactly_one_succeeds() {
    always(1, 1, (10 * MIB, 0), &[(0, 6 * MIB), (0, 6 * MIB)]);
}

#[test]
fn of_two_uploads_on_one_of_three_nodes_exactly_one_succeeds() {
    always(1, 3, (10 * MIB, 0), &[(1, 9 * MIB), (1, 9 * MIB)]);
}

#[test]
fn of_twenty_four_one_mebibyte_uploads_on_three_nodes_exactly_ten_succeed() {
    let uploads: Vec<(usize, u64)> = (0..24).map(|turn| (turn % 3, MIB)).collect();
    always(10, 3, (10 * MIB, 0), &uploads);
}

#[test]
fn of_twenty_four_files_on_three_nodes_exactly_ten_fit_a_quota_of_ten_files() {
    let uploads: Vec<(usize, u64)> = (0..24).map(|turn| (turn % 3, 1024)).collect();
    always(10, 3, (0, 10), &uploads);
}

#[test]
fn of_two_files_on_two_nodes_exactly_one_takes_the_last_slot() {
    always(1, 2, (0, 1), &[(0, 3 * MIB), (1, 3 * MIB)]);
}

#[test]
fn of_three_uploads_of_which_any_two_fit_two_succeed() {
    always(2, 3, (10 * MIB, 0), &[(0, 4 * MIB), (1, 4 * MIB), (2, 4 * MIB)]);
    always(2, 2, (10 * MIB, 0), &[(0, 4 * MIB), (1, 4 * MIB), (1, 4 * MIB)]);
}

#[test]
fn what_fits_to_the_last_byte_is_never_refused() {
    always(3, 3, (10 * MIB, 3), &[(0, 4 * MIB), (1, 3 * MIB), (2, 3 * MIB)]);
}

/// The cases of `models/shortage_cases*.py`, a unit being a mebibyte.
#[test]
fn the_cases_of_the_protocols_own_search_have_the_numbers_it_found() {
    let mib = |uploads: &[(usize, u64)]| -> Vec<(usize, u64)> {
        uploads.iter().map(|(node, size)| (*node, size * MIB)).collect()
    };
    always(1, 2, (5 * MIB, 0), &mib(&[(0, 3), (1, 3)]));
    always(1, 2, (4 * MIB, 0), &mib(&[(0, 3), (1, 3)]));
    always(1, 2, (10 * MIB, 0), &mib(&[(0, 9), (1, 6)]));
    always(1, 2, (10 * MIB, 0), &mib(&[(1, 9), (0, 6)]));
    always(2, 3, (5 * MIB, 0), &mib(&[(0, 2), (1, 2), (2, 2)]));
    always(2, 2, (5 * MIB, 0), &mib(&[(0, 2), (0, 2), (1, 2)]));
    always(2, 2, (6 * MIB, 0), &mib(&[(0, 3), (1, 3), (1, 3)]));
    always(2, 2, (6 * MIB, 0), &mib(&[(0, 3), (1, 3), (1, 2)]));
    always(2, 2, (10 * MIB, 0), &mib(&[(0, 5), (1, 5), (0, 5), (1, 5), (0, 5)]));
    always(2, 2, (2 * MIB, 0), &mib(&[(0, 1), (1, 1), (0, 1), (1, 1), (0, 1)]));
    at_least_and_most(1, 2, 2, (5 * MIB, 0), &mib(&[(0, 4), (1, 2), (1, 2)]));
}

/// Two uploads of 6 and 4 MiB take all of 10; the older asks for more, then the younger. Returns who is refused.
async fn refused_of_two(older_is_stuck: bool) -> (bool, bool) {
    let fleet = Fleet::start(21, 2);
    fleet.create("demo", 10 << 20, 0);
    let places = if older_is_stuck { 1 } else { 2 };
    let progress = Progress::new(places, None);
    let (_one, older_account) = fleet.nodes[0].open_with("demo", Arc::clone(&progress)).await;
    let guard = NoGuard::shared();
    let older = older_account.charge();
    older.raise(6 << 20, 1, &guard).await.unwrap();
    // Opened now: what comes with the open is a younger grant.
    let (_two, younger_account) = fleet.nodes[1].open("demo").await;
    let younger = younger_account.charge();
    younger.raise(4 << 20, 1, &guard).await.unwrap();
    let ask = async |charge: &flotilla_session::ledger::Charge, wait: Option<&Progress>| {
        let _waits = wait.map(Progress::wait);
        let refused = charge.raise(1 << 20, 0, &guard).await.is_err();
        if refused {
            charge.give_back();
        }
        refused
    };
    let then_the_younger = async {
        // First the older one waits, and the log has heard whether its session can go on.
        let waits = |row: &Account| row.waiters.values().any(|waiter| waiter.order.is_none() == older_is_stuck);
        while !waits(&fleet.account("demo")) {
            fleet.dice.pause(1_000).await;
        }
        ask(&younger, None).await
    };
    let refused = tokio::join!(ask(&older, Some(&progress)), then_the_younger);
    for charge in [&older, &younger] {
        charge.give_back();
    }
    older_account.leave().await;
    younger_account.leave().await;
    refused
}

#[tokio::test(start_paused = true)]
async fn an_upload_of_a_session_that_cannot_go_on_counts_as_the_youngest() {
    assert_eq!(refused_of_two(false).await, (false, true), "the younger one makes way");
    assert_eq!(refused_of_two(true).await, (true, false), "all places of the older one's session wait for room");
}
