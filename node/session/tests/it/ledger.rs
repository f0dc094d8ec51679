//! The ledger of one node and of few: commands per upload, crashes, late settlements, fences, scans, new limits.

use std::sync::Arc;
use std::time::Duration;

use flotilla_cluster::Cluster;
use flotilla_model::command::*;
use flotilla_model::*;
use flotilla_session::ledger::{AccountHandle, LedgerConfig, QuotaRefused};
use flotilla_vfs::{CreditClaim, InodeName, NoGuard, Usage};

use crate::fleet::{Fleet, name};

const MIB: u64 = 1 << 20;

fn commands(fleet: &Fleet) -> u64 {
    fleet.commands.lock().unwrap().values().sum()
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(start_paused = true)]
async fn one_gibibyte_into_an_account_with_room_takes_at_most_forty_commands_whatever_the_size_of_writes() {
    for chunk in [32 << 10, 256 << 10] {
        let fleet = Fleet::start(1, 3);
        fleet.create("demo", 4 << 30, 0);
        let (session, account) = fleet.nodes[0].open("demo").await;
        let charge = account.charge();
        for turn in 0..(1 << 30) / chunk {
            charge.raise(chunk, u64::from(turn == 0), &NoGuard::shared()).await.unwrap();
            if turn % 64 == 0 {
                fleet.dice.pause(2_000).await;
            }
        }
        charge.publish();
        charge.give_back();
        account.leave().await;
        fleet.nodes[0].close(session).await;
        assert_eq!(fleet.account("demo").used, Amount::new(1 << 30, 1));
        assert!(commands(&fleet) <= 40, "{:?}", fleet.commands.lock().unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn two_thousand_small_files_take_few_commands() {
    let fleet = Fleet::start(1, 3);
    fleet.create("demo", 1 << 30, 100_000);
    let (_session, account) = fleet.nodes[0].open("demo").await;
    for _ in 0..2_000 {
        let charge = account.charge();
        charge.raise(1024, 1, &NoGuard::shared()).await.unwrap();
        fleet.dice.pause(1_000).await;
        charge.publish();
        charge.give_back();
    }
    account.leave().await;
    assert_eq!(fleet.account("demo").used, Amount::new(2_000 * 1024, 2_000));
    assert!(commands(&fleet) <= 40, "{:?}", fleet.commands.lock().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_removed_file_makes_room_for_the_next_at_a_full_quota() {
    let fleet = Fleet::start(1, 2);
    fleet.create("demo", 10 * MIB, 0);
    let (_session, account) = fleet.nodes[0].open("demo").await;
    let first = account.charge();
    first.raise(10 * MIB, 1, &NoGuard::shared()).await.unwrap();
    first.publish();
    first.give_back();
    let second = account.charge();
    let refused = second.raise(1, 1, &NoGuard::shared()).await.unwrap_err();
    assert!(matches!(&refused, QuotaRefused::Exceeded(text) if text.contains("10485760")), "{refused}");
    second.give_back();
    let measuring = account.measuring();
    let inode = InodeName { inode: 7, birth_ns: 1 };
    measuring.credit(CreditClaim { bytes: 10 * MIB, files: 1, inode });
    let third = account.charge();
    third.raise(10 * MIB, 1, &NoGuard::shared()).await.unwrap();
    third.publish();
    third.give_back();
    account.leave().await;
    assert_eq!(fleet.account("demo").used, Amount::new(10 * MIB as i64, 1));
}

#[tokio::test(start_paused = true)]
async fn a_user_without_a_limit_is_counted_in_batches_and_takes_no_grants() {
    let fleet = Fleet::start(1, 1);
    fleet.create("demo", 0, 0);
    let (_session, account) = fleet.nodes[0].open("demo").await;
    for _ in 0..100 {
        let charge = account.charge();
        assert!(charge.try_raise(1000, 1));
        charge.publish();
        charge.give_back();
    }
    account.leave().await;
    assert_eq!(fleet.account("demo").used, Amount::new(100_000, 100));
    let commands = fleet.commands.lock().unwrap();
    assert_eq!((commands.get("grant"), commands["settle"] <= 3), (None, true), "{commands:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_crashed_node_may_have_spent_stays_charged_until_a_scan_gives_it_back() {
    let config = LedgerConfig::default();
    let fleet = Fleet::start_with(1, 2, config);
    fleet.create("demo", 10 * MIB, 0);
    let (_session, account) = fleet.nodes[1].open("demo").await;
    let charge = account.charge();
    charge.raise(9 * MIB, 1, &NoGuard::shared()).await.unwrap();
    let dead = fleet.nodes[1].lease().unwrap().epoch();
    fleet.expire(&fleet.nodes[1]);
    assert!(fleet.account("demo").taken().bytes >= 9 * MIB as i64);
    {
        // In use by node 1: no scan yet, and no room.
        let (session, other) = fleet.nodes[0].open("demo").await;
        other.before_change(&NoGuard::shared()).await.unwrap();
        let id = fleet.account("demo").id;
        assert!(fleet.disk.fenced.lock().unwrap().contains(&(id.0, dead.0)), "fenced before the first change");
        let refused = other.charge().raise(9 * MIB, 1, &NoGuard::shared()).await.unwrap_err();
        assert!(refused.to_string().contains("held for a node that stopped"), "{refused}");
        other.leave().await;
        fleet.nodes[0].close(session).await;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(*fleet.disk.scans.lock().unwrap(), 0, "its process may still write");
    let id = fleet.account("demo").id;
    fleet.disk.stored.lock().unwrap().insert(id.0, Usage { bytes: 5, files: 1 });
    fleet.register(&fleet.nodes[1], 2);
    eventually("scanned", || fleet.account("demo").used == Amount::new(5, 1)).await;
    assert!(fleet.account("demo").holders.is_empty());
    // The old process thaws and settles after the scan: no number changes, the account is marked and scanned again.
    let scans = *fleet.disk.scans.lock().unwrap();
    charge.publish();
    charge.give_back();
    account.leave().await;
    eventually("scanned again", || *fleet.disk.scans.lock().unwrap() > scans && !fleet.account("demo").marked).await;
    assert_eq!(fleet.account("demo").used, Amount::new(5, 1));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_outlived_its_lease_settles_its_dead_epoch_exactly() {
    let fleet = Fleet::start(3, 2);
    fleet.create("demo", 10 * MIB, 0);
    let (_session, account) = fleet.nodes[0].open("demo").await;
    let published = account.charge();
    published.raise(3 * MIB, 1, &NoGuard::shared()).await.unwrap();
    published.publish();
    let staged = account.charge();
    staged.raise(2 * MIB, 1, &NoGuard::shared()).await.unwrap();
    fleet.expire(&fleet.nodes[0]);
    published.give_back();
    staged.give_back();
    account.leave().await;
    let settled = || fleet.account("demo").holders.values().all(|holder| holder.settled);
    eventually("settled", settled).await;
    let row = fleet.account("demo");
    assert_eq!((row.used, row.outstanding()), (Amount::new(3 * MIB as i64, 1), Amount::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ends_between_the_last_settlement_and_the_close_is_settled_too() {
    let fleet = Fleet::start(3, 2);
    fleet.create("demo", 10 * MIB, 0);
    let (_session, account) = fleet.nodes[0].open("demo").await;
    let charge = account.charge();
    charge.raise(3 * MIB, 1, &NoGuard::shared()).await.unwrap();
    charge.publish();
    charge.give_back();
    account.leave().await;
    eventually("all is back", || fleet.account("demo").outstanding().is_zero()).await;
    // Time for the ledger to forget what has nothing to say.
    tokio::time::sleep(Duration::from_secs(5)).await;
    fleet.expire(&fleet.nodes[0]);
    eventually("settled", || fleet.account("demo").holders.values().all(|holder| holder.settled)).await;
    assert_eq!(fleet.account("demo").used, Amount::new(3 * MIB as i64, 1));
}

/// The next session goes on in the row of the one before, whose total it has not seen grow.
#[tokio::test(start_paused = true)]
async fn what_the_row_had_settled_before_a_session_came_is_in_its_last_settlement() {
    let fleet = Fleet::start(4, 2);
    fleet.create("demo", 10 * MIB, 0);
    let store = async |account: &AccountHandle, size: u64| {
        let charge = account.charge();
        charge.raise(size, 1, &NoGuard::shared()).await.unwrap();
        charge.publish();
        charge.give_back();
    };
    let (_first, account) = fleet.nodes[0].open("demo").await;
    store(&account, 3 * MIB).await;
    account.leave().await;
    eventually("all is back", || fleet.account("demo").outstanding().is_zero()).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (_second, account) = fleet.nodes[0].open("demo").await;
    store(&account, 2 * MIB).await;
    fleet.expire(&fleet.nodes[0]);
    account.leave().await;
    eventually("settled", || fleet.account("demo").holders.values().all(|holder| holder.settled)).await;
    assert_eq!(fleet.account("demo").used, Amount::new(5 * MIB as i64, 2));
}

#[tokio::test(start_paused = true)]
async fn a_new_limit_on_a_shared_root_counts_what_was_written_without_grants_first() {
    let fleet = Fleet::start(5, 2);
    fleet.create("free", 0, 0);
    let (_session, account) = fleet.nodes[1].open("free").await;
    let done = account.charge();
    assert!(done.try_raise(6 * MIB, 1));
    done.publish();
    done.give_back();
    let open = account.charge();
    assert!(open.try_raise(3 * MIB, 1));
    fleet.create("demo", 10 * MIB, 0);
    let (_other, limited) = fleet.nodes[0].open("demo").await;
    let charge = limited.charge();
    let refused = charge.raise(2 * MIB, 1, &NoGuard::shared()).await.unwrap_err();
    assert!(matches!(refused, QuotaRefused::Exceeded(_)), "{refused}");
    charge.give_back();
    let small = limited.charge();
    small.raise(MIB, 1, &NoGuard::shared()).await.unwrap();
    assert!(!open.try_raise(MIB, 0) || fleet.account("demo").taken().bytes >= 11 * MIB as i64);
    open.publish();
    open.give_back();
    small.publish();
    small.give_back();
    account.leave().await;
    limited.leave().await;
    let used = fleet.account("demo").used;
    assert!(used.bytes >= 10 * MIB as i64, "{used:?}");
}

#[tokio::test(start_paused = true)]
async fn a_root_that_was_not_empty_is_counted_before_the_first_grant() {
    let fleet = Fleet::start(5, 2);
    fleet.disk.stored.lock().unwrap().insert(0, Usage { bytes: 1, files: 1 });
    fleet.create("demo", 10 * MIB, 0);
    let id = fleet.account("demo").id;
    fleet.disk.stored.lock().unwrap().insert(id.0, Usage { bytes: 8 * MIB, files: 4 });
    let (_session, account) = fleet.nodes[0].open("demo").await;
    assert_eq!(fleet.account("demo").used, Amount::new(8 * MIB as i64, 4));
    let charge = account.charge();
    assert!(charge.raise(3 * MIB, 1, &NoGuard::shared()).await.is_err());
    charge.raise(2 * MIB, 1, &NoGuard::shared()).await.unwrap_err();
    charge.give_back();
}

#[tokio::test(start_paused = true)]
async fn a_raised_limit_is_taken_up_by_running_sessions() {
    let fleet = Fleet::start(5, 1);
    fleet.create("demo", 10 * MIB, 0);
    let (_session, account) = fleet.nodes[0].open("demo").await;
    let charge = account.charge();
    charge.raise(10 * MIB, 1, &NoGuard::shared()).await.unwrap();
    let patch = UserPatch { quota_size: Some(20 * MIB), ..UserPatch::default() };
    let update = UpdateUser { username: name("demo"), expected_revision: None, patch };
    fleet.admin(Command::UpdateUser(update)).unwrap();
    eventually("seen", || fleet.nodes[0].state().user(&name("demo")).unwrap().quota_size == 20 * MIB).await;
    charge.raise(10 * MIB, 0, &NoGuard::shared()).await.unwrap();
    let node = Arc::clone(&fleet.nodes[0]);
    assert!(node.lease().is_some());
    charge.publish();
    charge.give_back();
    account.leave().await;
    assert_eq!(fleet.account("demo").used, Amount::new(20 * MIB as i64, 1));
}

#[tokio::test(start_paused = true)]
async fn an_idle_node_settles_past_the_credited_names_of_a_busy_one() {
    let fleet = Fleet::start(9, 2);
    fleet.create("demo", 10 * MIB, 0);
    let (_idle, idle) = fleet.nodes[1].open("demo").await;
    let (_busy, busy) = fleet.nodes[0].open("demo").await;
    let charge = busy.charge();
    charge.raise(10_000, 1, &NoGuard::shared()).await.unwrap();
    charge.publish();
    for inode in 0..9_000 {
        let measuring = busy.measuring();
        measuring.credit(CreditClaim { bytes: 1, files: 0, inode: InodeName { inode, birth_ns: 1 } });
        fleet.dice.pause(4_000).await;
    }
    charge.give_back();
    busy.leave().await;
    let row = fleet.account("demo");
    assert_eq!((row.used.bytes, row.marked), (1_000, false), "every credit was given, none was one name too many");
    assert!(row.credited.len() < 2_000, "{} names are kept", row.credited.len());
    idle.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_forced_scan_does_not_wait_for_the_process_of_a_dead_epoch() {
    let fleet = Fleet::start_with(11, 2, LedgerConfig::default());
    fleet.create("demo", 10 * MIB, 0);
    let (_session, account) = fleet.nodes[1].open("demo").await;
    let charge = account.charge();
    charge.raise(9 * MIB, 1, &NoGuard::shared()).await.unwrap();
    fleet.expire(&fleet.nodes[1]);
    let id = fleet.account("demo").id;
    fleet.disk.stored.lock().unwrap().insert(id.0, Usage { bytes: 77, files: 1 });
    fleet.admin(Command::Account(AccountCommand::WantScan { account: id, force: false })).unwrap();
    eventually("fenced although no scan may begin", || {
        fleet.account("demo").holders.values().all(|holder| holder.fenced)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(fleet.account("demo").marked, "its process may still write");
    fleet.admin(Command::Account(AccountCommand::WantScan { account: id, force: true })).unwrap();
    eventually("scanned", || fleet.account("demo").used == Amount::new(77, 1)).await;
    let row = fleet.account("demo");
    assert!(!row.forced && row.holders.is_empty(), "{row:?}");
    drop((charge, account));
}

#[tokio::test(start_paused = true)]
async fn the_first_small_upload_after_a_login_asks_for_nothing() {
    let fleet = Fleet::start(13, 2);
    fleet.create("demo", 10 * MIB, 100);
    let (session, account) = fleet.nodes[0].open("demo").await;
    // The first session of a root finds it unlooked at; from then on room comes with the open.
    account.leave().await;
    fleet.nodes[0].close(session).await;
    let before = commands(&fleet);
    let (session, account) = fleet.nodes[0].open("demo").await;
    let charge = account.charge();
    assert!(charge.try_raise(100_000, 1), "room came with the session");
    charge.publish();
    charge.give_back();
    let (again, second) = fleet.nodes[0].open("demo").await;
    assert_eq!(fleet.state().session(again).unwrap().first_grant, None, "there is room enough on this node");
    second.leave().await;
    fleet.nodes[0].close(again).await;
    account.leave().await;
    fleet.nodes[0].close(session).await;
    assert!(commands(&fleet) - before <= 3, "{:?}", fleet.commands.lock().unwrap());
    let row = fleet.account("demo");
    assert_eq!((row.used, row.outstanding()), (Amount::new(100_000, 1), Amount::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_login_that_never_enters_gives_its_first_grant_back() {
    let fleet = Fleet::start(17, 1);
    fleet.create("demo", 10 * MIB, 0);
    let (session, account) = fleet.nodes[0].open("demo").await;
    account.leave().await;
    fleet.nodes[0].close(session).await;
    let session = fleet.nodes[0].open_only("demo").await;
    assert!(fleet.account("demo").outstanding().is_positive());
    fleet.nodes[0].close(session).await;
    eventually("given back", || fleet.account("demo").holders.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_lasts_for_an_hour_stops_at_the_quota() {
    let fleet = Fleet::start(19, 2);
    fleet.create("demo", 10 * MIB, 0);
    let (_one, first) = fleet.nodes[0].open("demo").await;
    let (_two, second) = fleet.nodes[1].open("demo").await;
    let charges = [first.charge(), second.charge()];
    let mut written = 0;
    for minute in 0..60 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        for (at, charge) in charges.iter().enumerate() {
            let raised = charge.raise(MIB / 2, u64::from(minute == 0), &NoGuard::shared()).await;
            written += u64::from(raised.is_ok()) * MIB / 2;
            assert!(raised.is_ok() == (minute < 10), "minute {minute}, node {}: {raised:?}", at + 1);
        }
    }
    assert_eq!(written, 10 * MIB);
    fleet.assert_taken_within(Amount::new(10 * MIB as i64, i64::MAX));
    charges.iter().for_each(flotilla_session::ledger::Charge::give_back);
    first.leave().await;
    second.leave().await;
}
