//! Scans of a folder that several nodes use, with real files: what is stored is never more than what is counted, and at rest the same.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flotilla_cluster::Cluster;
use flotilla_model::command::{AccountCommand, CreateUser};
use flotilla_model::{Account, Amount, Command};
use flotilla_session::*;
use flotilla_vfs::{LocalOptions, LocalStorage};
use tokio::time::Instant;

use crate::fleet::{Dice, Fleet};
use crate::support::{PASSWORD, eventually, name, spec};

const QUOTA: u64 = 400_000;
const NAMES: u64 = 8;

struct Town {
    fleet: Arc<Fleet>,
    cores: Vec<Arc<Core>>,
    folder: tempfile::TempDir,
}

impl Town {
    async fn build(seed: u64, nodes: u64) -> Town {
        let folder = tempfile::tempdir().unwrap();
        let fleet = Fleet::bare(seed, nodes);
        let mut cores = Vec::new();
        for node in &fleet.nodes {
            let storage = LocalStorage::open("files", folder.path(), LocalOptions::default()).await.unwrap();
            cores.push(Core::new(CoreConfig::default(), Arc::clone(node) as Arc<dyn Cluster>, vec![storage]));
        }
        let spec = flotilla_model::UserSpec { quota_size: QUOTA, ..spec("demo") };
        fleet.admin(Command::CreateUser(CreateUser { username: name("demo"), spec })).unwrap();
        // The fleet's barrier answers at once.
        let knows = |node: &Arc<crate::fleet::FleetNode>| node.state().user(&name("demo")).is_some();
        eventually("every node knows the user", || fleet.nodes.iter().all(knows)).await;
        Town { fleet, cores, folder }
    }

    async fn session(&self, node: usize) -> Admitted {
        static PORT: AtomicU64 = AtomicU64::new(20_000);
        let port = PORT.fetch_add(1, Ordering::SeqCst) as u16;
        let connection = self.cores[node].connection(([127, 0, 0, 1], port).into(), ([127, 0, 0, 1], 2022).into());
        let deadline = Instant::now() + Duration::from_secs(30);
        let password = Credential::Password(PASSWORD.into());
        match self.cores[node].authenticate(&connection, "demo", password, deadline).await {
            AuthOutcome::Accepted(admitted) => admitted,
            AuthOutcome::Rejected => panic!("rejected"),
            AuthOutcome::KeyAcceptable => panic!("no key was offered"),
            AuthOutcome::AcceptedButRefused(text) | AuthOutcome::Unavailable(text) => panic!("{text}"),
        }
    }

    fn account(&self) -> Arc<Account> {
        self.fleet.account("demo")
    }

    fn want_scan(&self) {
        let want = AccountCommand::WantScan { account: self.account().id, force: false };
        self.fleet.admin(Command::Account(want)).unwrap();
    }

    /// Everything of the account on the disk, staging included. Nothing is added meanwhile.
    fn stored(&self) -> Amount {
        let staging = self.folder.path().join(".flotilla").join(self.account().id.to_string());
        let mut found = Amount::ZERO;
        add_files(&self.folder.path().join("demo"), &mut found);
        add_files(&staging, &mut found);
        found
    }

    /// All operations have returned: what was counted just before is at least what is stored.
    fn assert_nothing_is_uncounted(&self, round: u64) {
        let row = self.account();
        let stored = self.stored();
        assert!(stored.fits(row.taken()), "round {round}: {stored:?} stored, {:?} counted: {row:#?}", row.taken());
    }

    /// Nothing happens, and sessions may be open: scans until one is exact.
    async fn assert_scanned_to_the_byte(&self) {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            self.want_scan();
            let asked = self.fleet.state().applied_index();
            while self.account().scan_committed <= asked {
                assert!(Instant::now() < deadline, "not scanned: {:#?}", self.account());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if !self.account().marked {
                break;
            }
        }
        let row = self.account();
        assert_eq!(row.used, self.stored(), "{row:#?}");
    }
}

fn add_files(folder: &Path, found: &mut Amount) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        match entry.metadata() {
            Ok(about) if about.is_dir() => add_files(&entry.path(), found),
            Ok(about) => *found += Amount::new(about.len() as i64, 1),
            Err(_) => {}
        }
    }
}

/// What a client does that must not make the count wrong. Names are shared, so most of it meets what others do with them.
async fn work(session: Arc<Session>, dice: Arc<Dice>, steps: u64) -> u64 {
    let mut done = 0;
    for _ in 0..steps {
        let name = |dice: &Dice| format!("/{}/f{}", ["a", "b"][dice.roll(2) as usize], dice.roll(NAMES));
        let (path, other) = (name(&dice), name(&dice));
        let size = dice.roll(6_000);
        let ok = match dice.roll(12) {
            0..=4 => put(&session, &path, size).await.is_ok(),
            5..=6 => session.remove(path.as_bytes()).await.is_ok(),
            7 => session.rename(path.as_bytes(), other.as_bytes()).await.is_ok(),
            8 => session.posix_rename(path.as_bytes(), other.as_bytes()).await.is_ok(),
            9 => {
                let wanted = SetStat { size: Some(size), ..SetStat::default() };
                session.set_stat(path.as_bytes(), wanted).await.is_ok()
            }
            _ => write_in_place(&session, &path, size).await.is_ok(),
        };
        done += u64::from(ok);
        dice.pause(2_000).await;
    }
    done
}

async fn put(session: &Session, path: &str, size: u64) -> Result<(), Failure> {
    let upload = OpenFlags { write: true, create: true, truncate: true, ..OpenFlags::default() };
    let file = session.open(path.as_bytes(), upload, SetStat::default()).await?;
    let written = file.write(0, vec![b'x'; size as usize].into()).await;
    written.and(file.close().await)
}

async fn write_in_place(session: &Session, path: &str, offset: u64) -> Result<(), Failure> {
    let file =
        session.open(path.as_bytes(), OpenFlags { write: true, ..OpenFlags::default() }, SetStat::default()).await?;
    let mut written = Ok(());
    for at in 0..3 {
        written = written.and(file.write(offset + at * 500, vec![b'y'; 500].into()).await);
        tokio::task::yield_now().await;
    }
    written.and(file.close().await)
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn make_folders(session: &Session) {
    for folder in [b"/a", b"/b"] {
        session.make_dir(folder, SetStat::default()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_everything_that_clients_do_on_three_nodes_nothing_is_counted_too_little() {
    let town = Town::build(41, 3).await;
    let mut sessions = Vec::new();
    for node in 0..3 {
        sessions.push(town.session(node).await);
    }
    make_folders(sessions[0].session()).await;
    let mut done = 0;
    for round in 0..12 {
        let dice = |at: usize| Dice::new(1_000 * round + at as u64);
        let clients = sessions.iter().enumerate().map(|(at, one)| work(Arc::clone(one.session()), dice(at), 25));
        let clients: Vec<_> = clients.map(tokio::spawn).collect();
        town.want_scan();
        for client in clients {
            done += client.await.unwrap();
        }
        town.assert_nothing_is_uncounted(round);
    }
    assert!(done > 400, "{done} operations succeeded");
    let commands = town.fleet.commands.lock().unwrap().clone();
    assert!(commands.get("scan_report") > Some(&0), "no scan ran while the account was in use: {commands:?}");
    town.assert_scanned_to_the_byte().await;
    for session in sessions {
        let over = Arc::clone(session.session());
        drop(session);
        over.closed().await;
    }
    assert_eq!(town.account().used, town.stored());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_lose_their_leases_under_a_scan_leave_nothing_uncounted() {
    let town = Town::build(43, 3).await;
    let mut sessions = Vec::new();
    for node in 0..3 {
        sessions.push(town.session(node).await);
    }
    make_folders(sessions[0].session()).await;
    let mut under_a_scan = 0;
    // Which scans are met under way is the scheduler's: as many rounds as it takes, within a bound.
    for round in 0..30 {
        if round >= 6 && under_a_scan >= 2 {
            break;
        }
        let dice = |at: usize| Dice::new(7_000 * round + at as u64);
        let clients = sessions.iter().enumerate().map(|(at, one)| work(Arc::clone(one.session()), dice(at), 20));
        let clients: Vec<_> = clients.map(tokio::spawn).collect();
        town.want_scan();
        let asked = town.fleet.state().applied_index();
        // In the middle of a scan, if one can begin: what the last round left may still be in its way.
        let begun = || town.account().scan.is_some() || town.account().scan_committed > asked;
        let _ = tokio::time::timeout(Duration::from_secs(3), until(begun)).await;
        let lost = &town.fleet.nodes[round as usize % 3];
        let before = town.account().scan.as_ref().map(|scan| scan.begun);
        town.fleet.expire(lost);
        let after = town.account();
        let over = before.is_some_and(|begun| after.scan_committed >= begun);
        under_a_scan += u32::from(before.is_some() && !over);
        for client in clients {
            client.await.unwrap();
        }
        town.assert_nothing_is_uncounted(round);
        let at = round as usize % 3;
        let dead = sessions.remove(at);
        let over = Arc::clone(dead.session());
        drop(dead);
        over.closed().await;
        town.fleet.register(lost, 1);
        sessions.insert(at, town.session(at).await);
    }
    assert!(under_a_scan >= 2, "{under_a_scan} leases ended under a scan");
    town.assert_scanned_to_the_byte().await;
}
