//! Scans of accounts in use (7.3): one node with real files, several nodes with real files, and nodes that do not answer.

use std::time::Duration;

use flotilla_cluster::Cluster;
use flotilla_model::command::AccountCommand;
use flotilla_model::{Account, Amount, Command};
use flotilla_session::ledger::LedgerConfig;
use flotilla_session::*;
use flotilla_vfs::{NoGuard, Usage};

use crate::fleet::Fleet;
use crate::house::*;

const QUOTA: u64 = 100_000;

impl House {
    fn account(&self) -> Account {
        let state = self.cluster.state();
        let id = state.user(&name("demo")).unwrap().account;
        Account::clone(state.account(id).unwrap())
    }

    fn want_scan(&self) {
        let want = AccountCommand::WantScan { account: self.account().id, force: false };
        self.cluster.apply(Command::Account(want)).reply.unwrap();
    }

    /// Asks for a scan and waits for its result.
    async fn scan(&self) -> Account {
        self.want_scan();
        let asked = self.cluster.state().applied_index();
        eventually("scanned", || self.account().scan_committed > asked).await;
        self.account()
    }
}

async fn limited() -> (House, Admitted) {
    let house = House::build().await;
    house.create("demo", |user| user.quota_size = QUOTA);
    let admitted = house.session("demo").await;
    (house, admitted)
}

fn in_place() -> OpenFlags {
    OpenFlags { write: true, ..OpenFlags::default() }
}

#[tokio::test]
async fn a_scan_does_not_wait_for_sessions_to_end_and_counts_to_the_byte() {
    let (house, admitted) = limited().await;
    let session = admitted.session();
    put(session, "/a", &[b'a'; 300]).await.unwrap();
    std::fs::write(house.path("demo/by-hand"), [0; 4_000]).unwrap();
    let row = house.scan().await;
    assert_eq!((row.used, row.marked, row.holders.len()), (Amount::new(4_300, 2), false, 1));
    // What is granted stays granted, and removed files are credited as ever.
    put(session, "/b", &[b'b'; 1_000]).await.unwrap();
    session.remove(b"/by-hand").await.unwrap();
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), Amount::new(1_300, 2));
}

#[tokio::test]
async fn an_upload_that_is_open_during_a_scan_is_counted_once() {
    let (house, admitted) = limited().await;
    let session = admitted.session();
    put(session, "/a", &[b'a'; 300]).await.unwrap();
    let upload = session.open(b"/b", WRITE, SetStat::default()).await.unwrap();
    upload.write(0, vec![b'b'; 5_000].into()).await.unwrap();
    let row = house.scan().await;
    assert_eq!((row.used, row.marked), (Amount::new(300, 1), true), "what is staged holds its own room");
    upload.close().await.unwrap();
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), Amount::new(5_300, 2));
}

#[tokio::test]
async fn a_file_made_shorter_before_a_scan_is_charged_again_when_it_grows_after_it() {
    let (house, admitted) = limited().await;
    let session = admitted.session();
    put(session, "/a", &[b'a'; 9_000]).await.unwrap();
    let writer = session.open(b"/a", in_place(), SetStat::default()).await.unwrap();
    writer.write(9_000, vec![b'a'; 1_000].into()).await.unwrap();
    session.set_stat(b"/a", SetStat { size: Some(100), ..SetStat::default() }).await.unwrap();
    let marked = || house.account().marked;
    eventually("marked", marked).await;
    assert_eq!(house.account().used, Amount::new(10_000, 1), "a shrink in place earns nothing");
    let mut row = house.scan().await;
    if row.marked {
        // Its mark came behind the scan's begin.
        row = house.scan().await;
    }
    assert_eq!((row.used, row.marked), (Amount::new(100, 1), false));
    writer.write(100, vec![b'a'; 900].into()).await.unwrap();
    writer.write(9_000, vec![b'a'; 1_000].into()).await.unwrap();
    writer.close().await.unwrap();
    house.leave(admitted).await;
    assert_eq!(house.used("demo"), Amount::new(10_000, 1));
}

#[tokio::test]
async fn a_removed_file_that_is_open_stays_counted_through_a_scan() {
    let (house, admitted) = limited().await;
    let session = admitted.session();
    put(session, "/a", &[b'a'; 9_000]).await.unwrap();
    put(session, "/b", &[b'b'; 100]).await.unwrap();
    let reader = session.open(b"/a", READ, SetStat::default()).await.unwrap();
    session.remove(b"/a").await.unwrap();
    let row = house.scan().await;
    assert_eq!((row.used, row.marked), (Amount::new(9_100, 2), true), "each of its scans was disturbed");
    assert_eq!(reader.read(0, 10).await.unwrap().len(), 10);
    reader.close().await.unwrap();
    let row = house.scan().await;
    assert_eq!((row.used, row.marked), (Amount::new(100, 1), false));
    house.leave(admitted).await;
}

#[tokio::test]
async fn a_scan_that_is_disturbed_three_times_takes_the_larger_count() {
    let fleet = Fleet::start_with(23, 2, LedgerConfig::default());
    fleet.create("demo", QUOTA, 0);
    let (_one, first) = fleet.nodes[0].open("demo").await;
    let (_two, second) = fleet.nodes[1].open("demo").await;
    let charge = first.charge();
    charge.raise(5_000, 1, &NoGuard::shared()).await.unwrap();
    charge.publish();
    charge.give_back();
    let id = fleet.account("demo").id;
    fleet.disk.stored.lock().unwrap().insert(id.0, Usage { bytes: 4_000, files: 2 });
    let rename = second.moving();
    fleet.admin(Command::Account(AccountCommand::WantScan { account: id, force: false })).unwrap();
    eventually("scanned", || fleet.account("demo").scan_committed > 0).await;
    let row = fleet.account("demo");
    assert_eq!((*fleet.disk.scans.lock().unwrap(), row.used, row.marked), (3, Amount::new(5_000, 2), true));
    drop(rename);
    fleet.admin(Command::Account(AccountCommand::WantScan { account: id, force: false })).unwrap();
    eventually("scanned exactly", || !fleet.account("demo").marked).await;
    assert_eq!(fleet.account("demo").used, Amount::new(4_000, 2));
    first.leave().await;
    second.leave().await;
}

#[tokio::test]
async fn a_scan_is_given_up_with_the_node_that_does_not_answer() {
    let config = LedgerConfig { scan_answers: Duration::from_millis(100), ..LedgerConfig::default() };
    let fleet = Fleet::start_with(29, 2, config);
    fleet.create("demo", QUOTA, 0);
    let (_one, first) = fleet.nodes[0].open("demo").await;
    let (two, second) = fleet.nodes[1].open("demo").await;
    let charge = first.charge();
    charge.raise(5_000, 1, &NoGuard::shared()).await.unwrap();
    charge.publish();
    charge.give_back();
    fleet.nodes[1].ledger().stop();
    let id = fleet.account("demo").id;
    fleet.admin(Command::Account(AccountCommand::WantScan { account: id, force: false })).unwrap();
    eventually("given up", || fleet.account("demo").scan_given_up.is_some()).await;
    let row = fleet.account("demo");
    let reason = row.scan_given_up.clone().unwrap();
    assert!(reason.contains("node 2 uses the folder and did not answer"), "{reason}");
    assert_eq!((&row.scan, row.asked, row.marked), (&None, false, true));
    assert_eq!(row.used, Amount::new(5_000, 1), "nothing was taken from what is counted");
    drop(second);
    fleet.nodes[1].close(two).await;
    first.leave().await;
}

impl House {
    /// The account's staging folder in the epoch that is alive.
    fn staging(&self) -> std::path::PathBuf {
        let epoch = self.cluster.lease().unwrap().epoch();
        self.path(&format!(".flotilla/{}/{}", self.account().id.0, epoch.0))
    }

    /// One session uploads and leaves in order; its epoch ends, and the storage loses power: what was unlinked, and not synced, is back.
    async fn left_in_an_ended_epoch(&self) -> std::path::PathBuf {
        let admitted = self.session("demo").await;
        put(admitted.session(), "/a", &[b'a'; 300]).await.unwrap();
        self.leave(admitted).await;
        let folder = self.staging();
        self.cluster.register();
        assert!(self.account().holders.is_empty(), "there is nothing to fence");
        std::fs::write(folder.join("u-back"), [0; 5_000]).unwrap();
        folder
    }
}

#[tokio::test]
async fn what_a_power_cut_brings_back_of_an_epoch_that_left_nothing_is_gone_before_the_next_change() {
    let house = House::build().await;
    house.create("demo", |user| user.quota_size = QUOTA);
    let folder = house.left_in_an_ended_epoch().await;
    let admitted = house.session("demo").await;
    assert!(folder.exists(), "a login changes nothing");
    admitted.session().make_dir(b"/d", SetStat::default()).await.unwrap();
    assert!(!folder.exists());
    house.leave(admitted).await;
    eventually("scanned, for an earlier scan may have counted it", || house.account().scan_committed > 0).await;
    assert_eq!(house.used("demo"), Amount::new(300, 1));
}

#[tokio::test]
async fn what_a_power_cut_brings_back_is_not_counted_by_a_scan() {
    let house = House::build().await;
    house.create("demo", |user| user.quota_size = QUOTA);
    let folder = house.left_in_an_ended_epoch().await;
    assert_eq!(house.scan().await.used, Amount::new(300, 1), "of an account that nobody uses");
    assert!(!folder.exists());
    let folder = house.left_in_an_ended_epoch().await;
    let admitted = house.session("demo").await;
    assert_eq!(house.scan().await.used, Amount::new(300, 1), "of one in use");
    assert!(!folder.exists());
    house.leave(admitted).await;
}
