//! Moving leadership, draining, restarting one node after another under OpenSSH clients, new host keys.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flotilla_jepsen::client::{openssh_sftp, pattern};
use flotilla_jepsen::fleet::Fleet;

/// What clients saw over the restarts.
#[derive(Default)]
pub struct Seen {
    pub uploads: AtomicU64,
    pub retried: AtomicU64,
    /// The server said no to a right credential.
    pub denied: AtomicU64,
    /// Nobody listened.
    pub refused: AtomicU64,
    /// There was no session yet.
    pub without_session: AtomicU64,
    /// The node was going: what clients said of it.
    pub going: Mutex<Vec<String>>,
    /// What no restart explains.
    pub unexplained: Mutex<Vec<String>>,
}

/// What a line of a client's words says, each, when the node it speaks to goes or has gone.
const GOING: [&str; 4] = ["this node is shutting down", "Connection closed", "Connection reset", "Broken pipe"];
/// One node at a time is away: twice round all of them is more than enough.
const ATTEMPTS: usize = 6;
const ONE_UPLOAD: Duration = Duration::from_secs(60);

pub struct Client {
    pub number: usize,
    /// Tried in turn.
    pub ports: Vec<u16>,
    pub user: &'static str,
    pub key: PathBuf,
    pub source: PathBuf,
    pub seen: Arc<Seen>,
}

impl Client {
    /// Uploads one file after another; each is tried at the next node until it is stored, as a balancer's client would.
    pub async fn run(self, stop: Arc<AtomicBool>) -> Vec<String> {
        let mut stored = Vec::new();
        let mut at = self.number;
        while !stop.load(Ordering::Acquire) {
            let name = format!("c{}-{}.bin", self.number, stored.len());
            let batch = format!("put {} {name}\n", self.source.display());
            let mut attempts = 1;
            loop {
                let upload = openssh_sftp(self.ports[at % self.ports.len()], self.user, &self.key, &batch);
                let (ok, out, errors) = tokio::time::timeout(ONE_UPLOAD, upload).await.expect("in time").unwrap();
                if ok {
                    break;
                }
                if !out.contains("sftp> put") {
                    self.seen.without_session.fetch_add(1, Ordering::AcqRel);
                }
                self.note(&errors);
                assert!(attempts < ATTEMPTS, "{name} is not stored after {attempts} attempts: {errors}");
                attempts += 1;
                at += 1;
            }
            self.seen.uploads.fetch_add(1, Ordering::AcqRel);
            stored.push(name);
            at += 1;
        }
        stored
    }

    fn note(&self, errors: &str) {
        self.seen.retried.fetch_add(1, Ordering::AcqRel);
        if errors.contains("Permission denied") {
            self.seen.denied.fetch_add(1, Ordering::AcqRel);
        } else if errors.contains("Connection refused") {
            self.seen.refused.fetch_add(1, Ordering::AcqRel);
        } else {
            // By line: sftp ends whatever happened with a line that says that the connection is closed.
            let mut lines = errors.lines().filter(|line| !line.trim().is_empty());
            let explained =
                !errors.trim().is_empty() && lines.all(|line| GOING.iter().any(|going| line.contains(going)));
            let kept = if explained { &self.seen.going } else { &self.seen.unexplained };
            kept.lock().unwrap().push(errors.trim().to_owned());
        }
    }
}

/// A key pair made by OpenSSH, and its public line.
fn key_pair(folder: &Path) -> (PathBuf, String) {
    let key = folder.join("roller.key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status()
        .expect("OpenSSH's ssh-keygen is needed: apt-get install openssh-client");
    assert!(made.success());
    let public = std::fs::read_to_string(key.with_extension("key.pub")).unwrap();
    (key, public.trim().to_owned())
}

async fn user_with_key(fleet: &Fleet, name: &str, public_key: &str) {
    let body = serde_json::json!({
        "username": name, "public_keys": [public_key], "status": 1, "permissions": {"/": ["*"]},
    });
    let (status, answer) = fleet.rest(1).unwrap().post("/api/v2/users", &body).await.unwrap();
    assert_eq!(status, 201, "{answer}");
}

fn host_key(port: u16) -> String {
    let scan = std::process::Command::new("ssh-keyscan")
        .args(["-T", "5", "-t", "ed25519", "-p", &port.to_string(), "127.0.0.1"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&scan.stdout).into_owned();
    text.split("ssh-ed25519 ").nth(1).unwrap_or_default().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_restart_refuses_no_login_and_loses_no_upload_that_is_retried() {
    let mut fleet = Fleet::cluster(3).await.unwrap();
    let (key, public) = key_pair(fleet.folder());
    user_with_key(&fleet, "roller", &public).await;
    let source = fleet.folder().join("source.bin");
    let content = pattern(0, 3_000_000);
    std::fs::write(&source, &content).unwrap();

    let leads = fleet.view(1).await.unwrap()["leader"].as_u64().unwrap();
    let next = leads % 3 + 1;
    let moved = fleet.admin(1, &["cluster", "transfer", &next.to_string()]).await.unwrap();
    assert!(moved.stderr.contains(&format!("node {next} leads")), "{}", moved.stderr);
    assert_eq!(fleet.admin(1, &["cluster", "transfer", "9"]).await.unwrap().code, 4);

    let before = host_key(fleet.sftp_port(1));
    assert_eq!(fleet.admin(2, &["host-key", "rotate"]).await.unwrap().code, 2, "it asks first");
    let rotated = fleet.admin(2, &["host-key", "rotate", "--yes"]).await.unwrap().ok().unwrap();
    for machine in 1..=3 {
        fleet
            .until("the new host key is shown", async || {
                let now = host_key(fleet.sftp_port(machine));
                Ok(!now.is_empty() && now != before && rotated.contains(&now))
            })
            .await
            .unwrap();
    }

    let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let ports: Vec<u16> = (1..=3).map(|machine| fleet.sftp_port(machine)).collect();
    let clients: Vec<_> = (0..3)
        .map(|number| {
            let (ports, key, source, seen) = (ports.clone(), key.clone(), source.clone(), Arc::clone(&seen));
            tokio::spawn(Client { number, ports, user: "roller", key, source, seen }.run(Arc::clone(&stop)))
        })
        .collect();
    for machine in 1..=3 {
        let uploads = seen.uploads.load(Ordering::Acquire);
        fleet.until("uploads go on", async || Ok(seen.uploads.load(Ordering::Acquire) >= uploads + 3)).await.unwrap();
        if machine == 2 {
            let node = machine.to_string();
            fleet.admin(3, &["cluster", "drain", &node]).await.unwrap().ok().unwrap();
        } else {
            fleet.signal(machine, rustix::process::Signal::TERM).unwrap();
        }
        assert_eq!(fleet.ended(machine).await.unwrap(), Some(0), "{}", fleet.log(machine));
        fleet.serve(machine).await.unwrap();
        fleet.until_ready(machine).await.unwrap();
    }
    stop.store(true, Ordering::Release);
    let mut stored = 0;
    for client in clients {
        for name in client.await.unwrap() {
            assert_eq!(std::fs::read(fleet.files().join("roller").join(&name)).unwrap(), content, "{name}");
            stored += 1;
        }
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Acquire);
    eprintln!(
        "rolling restart: {stored} uploads stored, {} attempts retried ({} met a closed port), {} logins denied; going: {:?}",
        count(&seen.retried),
        count(&seen.refused),
        count(&seen.denied),
        seen.going.lock().unwrap()
    );
    let unexplained = seen.unexplained.lock().unwrap();
    assert!(unexplained.is_empty(), "no restart explains {unexplained:#?}");
    assert_eq!(count(&seen.denied), 0, "a right credential was refused");
}
