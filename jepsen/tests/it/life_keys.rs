//! Keys that are replaced under running processes: the nodes' certificates by themselves, the host keys by an operator.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use flotilla_jepsen::client::{Sftp, Upload, pattern};
use flotilla_jepsen::fleet::Fleet;

use crate::clocks::library;

const MIB: u64 = 1 << 20;
const SOON: Duration = Duration::from_secs(60);

async fn login(fleet: &Fleet, machine: usize) -> Sftp {
    let session = Sftp::login(fleet.sftp_port(machine), "keeper").await.unwrap();
    session.unwrap_or_else(|no| panic!("login on machine {machine}: {no:?}\n{}", fleet.log(machine)))
}

/// Uploads one file after another on one session, until it is told to stop: how many, all of them stored.
async fn upload_on(session: Sftp, name: String, stored: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Sftp {
    while !stop.load(Ordering::Acquire) {
        let outcome = session.upload(&format!("/{name}"), MIB, 32_768).await;
        assert!(matches!(outcome, Upload::Stored), "{name}: {outcome:?}");
        stored.fetch_add(1, Ordering::AcqRel);
    }
    session
}

/// All nodes' wall clocks, moved together.
struct Time {
    folder: tempfile::TempDir,
}

impl Time {
    fn new() -> Time {
        let time = Time { folder: tempfile::tempdir().unwrap() };
        time.set("+0");
        time
    }

    fn file(&self) -> String {
        self.folder.path().join("wall").to_str().unwrap().to_owned()
    }

    fn set(&self, offset: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, format!("{offset}\n")).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_renewed_in_time_under_running_transfers_and_the_old_ones_may_expire() {
    let time = Time::new();
    let file = time.file();
    let library = library();
    let clock = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", file.as_str()),
        ("FAKETIME_NO_CACHE", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    let mut fleet = Fleet::cluster_in(3, 3, &clock).await.unwrap();
    fleet.user(1, "keeper").await.unwrap();
    let certificate = |machine: usize| std::fs::read_to_string(fleet.data(machine).join("identity/node.pem")).unwrap();
    let first: Vec<String> = (1..=3).map(certificate).collect();
    let (stored, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut uploads = Vec::new();
    for machine in 1..=3 {
        let session = login(&fleet, machine).await;
        let (stored, stop) = (Arc::clone(&stored), Arc::clone(&stop));
        uploads.push(tokio::spawn(upload_on(session, format!("often{machine}"), stored, stop)));
    }
    let long = login(&fleet, 2).await;
    let handle = long.create("/long.bin").await.unwrap();
    long.raw.write(handle.clone(), 0, pattern(0, 32_768)).await.unwrap();

    // Thirty days are a certificate's life; it is renewed when ten are left.
    time.set("+21d");
    fleet
        .until("all certificates are renewed", async || {
            let now: Vec<String> = (1..=3).map(certificate).collect();
            Ok(now.iter().zip(&first).all(|(now, first)| now != first))
        })
        .await
        .unwrap();
    // The first ones have expired. Connections that begin now show the new ones: a node that starts has none from before.
    time.set("+40d");
    let before = stored.load(Ordering::Acquire);
    fleet.kill(3).await.unwrap();
    uploads.pop().unwrap().abort();
    fleet.serve(3).await.unwrap();
    fleet.until_ready(3).await.unwrap();
    fleet.until_voters(3, 3).await.unwrap();
    let session = login(&fleet, 3).await;
    assert!(matches!(session.upload("/after.bin", MIB, 32_768).await, Upload::Stored));
    fleet.until("uploads went on meanwhile", async || Ok(stored.load(Ordering::Acquire) >= before + 3)).await.unwrap();
    stop.store(true, Ordering::Release);
    for upload in uploads {
        let session = upload.await.expect("no upload failed");
        assert_eq!(session.download("/often1").await.unwrap().len(), MIB as usize);
    }
    long.raw.write(handle.clone(), 32_768, pattern(32_768, 32_768)).await.expect("it was open all the time");
    long.raw.close(handle).await.unwrap();
    assert_eq!(std::fs::read(fleet.files().join("keeper/long.bin")).unwrap(), pattern(0, 65_536));
    for machine in 1..=2 {
        assert!(!fleet.log_contains(machine, "lease_lost"), "machine {machine}: {}", fleet.log(machine));
    }
}

/// What a node shows as its keys, both algorithms.
fn host_keys(port: u16) -> BTreeSet<String> {
    let scan = std::process::Command::new("ssh-keyscan")
        .args(["-T", "5", "-t", "ed25519,ecdsa", "-p", &port.to_string(), "127.0.0.1"])
        .output()
        .expect("OpenSSH's ssh-keyscan is needed: apt-get install openssh-client");
    let text = String::from_utf8_lossy(&scan.stdout).into_owned();
    text.lines().filter_map(|line| line.split_once(' ')).map(|(_, key)| key.trim().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_keys_are_replaced_on_every_node_while_sessions_and_their_transfers_stay() {
    let mut fleet = Fleet::cluster(3).await.unwrap();
    fleet.user(1, "keeper").await.unwrap();
    let old = host_keys(fleet.sftp_port(1));
    assert_eq!(old.len(), 2, "an ed25519 and an ECDSA key: {old:?}");
    let mut open = Vec::new();
    for machine in 1..=3 {
        let session = login(&fleet, machine).await;
        let path = format!("/across{machine}.bin");
        let handle = session.create(&path).await.unwrap();
        session.raw.write(handle.clone(), 0, pattern(0, 32_768)).await.unwrap();
        open.push((session, handle, path));
    }
    let rotated = fleet.admin(3, &["host-key", "rotate", "--yes"]).await.unwrap().ok().unwrap();
    let mut new = BTreeSet::new();
    for machine in 1..=3 {
        fleet
            .until("new keys are shown, and none of the old ones", async || {
                Ok(host_keys(fleet.sftp_port(machine)).is_disjoint(&old))
            })
            .await
            .unwrap();
        let shown = host_keys(fleet.sftp_port(machine));
        assert_eq!(shown.len(), 2, "{shown:?}");
        assert!(shown.iter().all(|key| rotated.contains(key)), "{shown:?} in {rotated}");
        assert!(new.is_empty() || new == shown, "one identity (P7): {new:?} {shown:?}");
        new = shown;
    }
    for (session, handle, path) in &open {
        session.raw.write(handle.clone(), 32_768, pattern(32_768, 32_768)).await.expect("the session stays");
        session.raw.close(handle.clone()).await.unwrap();
        assert_eq!(session.download(path).await.unwrap(), pattern(0, 65_536));
    }
    // A node that was away meanwhile shows the new ones too; so does a listing through it.
    fleet.kill(2).await.unwrap();
    fleet.serve(2).await.unwrap();
    fleet.until_ready(2).await.unwrap();
    assert_eq!(host_keys(fleet.sftp_port(2)), new);
    let listed = fleet.admin(2, &["host-key", "list"]).await.unwrap().ok().unwrap();
    assert!(new.iter().all(|key| listed.contains(key)), "{listed}");
    tokio::time::timeout(SOON, login(&fleet, 2)).await.expect("a login").leave().await;
}
