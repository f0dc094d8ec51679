//! P3 by hand: what takes something away has ended everything concerned, on every node, by the time it answers.

use std::time::{Duration, Instant};

use flotilla_jepsen::client::{Connections, LoggedIn, NoLogin, Sftp, Upload, Valve};
use flotilla_jepsen::lab::Lab;
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use tokio::sync::watch;

const MIB: u64 = 1 << 20;
const SOON: Duration = Duration::from_secs(10);

/// A user's connections to one node: one that stopped reading in a download, one in an upload, one idle, one without
/// a channel.
struct Crowd {
    stalled: Sftp,
    uploading: Sftp,
    idle: Sftp,
    bare: LoggedIn,
}

impl Crowd {
    async fn gather(lab: &Lab, node: usize, user: &str) -> Crowd {
        let port = lab.sftp_port(node);
        let login = async || Sftp::login(port, user).await.unwrap().expect("login");
        let crowd = Crowd {
            stalled: login().await,
            uploading: login().await,
            idle: login().await,
            bare: LoggedIn::login(port, user).await.unwrap().expect("login"),
        };
        crowd.stop_reading().await;
        crowd.upload_for_ever(node).await;
        crowd
    }

    /// Asks for 16 MiB and reads nothing of it, until the server's kernel takes no more.
    async fn stop_reading(&self) {
        let raw = &self.stalled.raw;
        let handle = raw.open("/big", OpenFlags::READ, FileAttributes::empty()).await.unwrap().handle;
        self.stalled.valve.close();
        for at in 0..128u64 {
            let (raw, handle) = (raw.clone(), handle.clone());
            tokio::spawn(async move { raw.read(handle, at << 17, 1 << 17).await });
        }
        self.stalled.valve.stalled(Duration::from_secs(30)).await.unwrap();
    }

    /// Returns when writes have been acknowledged.
    async fn upload_for_ever(&self, node: usize) {
        let raw = self.uploading.raw.clone();
        let handle = self.uploading.create(&format!("/endless{node}")).await.unwrap();
        let (acknowledged, mut seen) = watch::channel(0);
        tokio::spawn(async move {
            for at in 0u64.. {
                if raw.write(&handle, at * 32768, vec![7; 32768]).await.is_err() {
                    break;
                }
                acknowledged.send_replace(at);
            }
        });
        tokio::time::timeout(SOON, seen.wait_for(|at| *at >= 4)).await.unwrap().unwrap();
    }

    fn valves(&self) -> [&Valve; 4] {
        [&self.stalled.valve, &self.uploading.valve, &self.idle.valve, &self.bare.valve]
    }

    /// What the client ends hold at the answer.
    fn at_the_answer(&self, now: &Connections) -> [AtAnswer; 4] {
        self.valves().map(|valve| AtAnswer { closed: now.closed(valve), arrived: valve.arrived().unwrap() })
    }

    /// Every connection was closed by the answer, by a reset, and what had arrived by then is all. A channel needs a connection.
    async fn is_cut(&self, answered: [AtAnswer; 4], what: &str) {
        for (at, which) in answered.iter().zip(WHICH) {
            assert!(at.closed, "{what}: the {which} connection was still there at the answer");
        }
        self.stalled.valve.open();
        for ((valve, at), which) in self.valves().into_iter().zip(answered).zip(WHICH) {
            let reset = valve.reset(SOON).await.unwrap();
            assert!(reset, "{what}: the {which} connection ended in order instead of being reset");
            let arrived = valve.arrived().unwrap();
            assert_eq!(arrived, at.arrived, "{what}: bytes came to the {which} client after the answer");
        }
    }
}

const WHICH: [&str; 4] = ["stalled", "uploading", "idle", "bare"];

/// A client's end of a connection when a command had answered.
#[derive(Clone, Copy)]
struct AtAnswer {
    closed: bool,
    arrived: u64,
}

/// Runs a command through node 2 while the user has a crowd on each node.
async fn cuts_everything(lab: &Lab, user: &str, verb: &[&str]) {
    lab.user(user, 0, 0, 0).await.unwrap();
    lab.seed(user, "big", 16 * MIB).unwrap();
    let mut crowds = Vec::new();
    for node in 1..=3 {
        crowds.push(Crowd::gather(lab, node, user).await);
    }
    let what = format!("{verb:?}");
    let asked = Instant::now();
    let (ok, text) = lab.cli(2, verb).await.unwrap();
    let took = asked.elapsed();
    // Before anything is awaited: nothing may end later than by the answer.
    let now = Connections::now().unwrap();
    let answered: Vec<[AtAnswer; 4]> = crowds.iter().map(|crowd| crowd.at_the_answer(&now)).collect();
    assert!(ok, "{what}: {text}");
    assert!(!text.contains("has not confirmed"), "{what}: {text}\n{}", lab.log_tails());
    // A second at most on the server; the rest is the program's start.
    assert!(took < Duration::from_secs(2), "{what} took {took:?}");
    for (n, crowd) in crowds.iter().enumerate() {
        assert!(answered[n][0].arrived < 16 * MIB, "{what}: the reader of node {} was not stalled", n + 1);
        crowd.is_cut(answered[n], &what).await;
    }
    assert_eq!(lab.stored(user).unwrap(), (16 * MIB, 1), "{what}: an upload that never closed became visible");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_revokes_has_cut_stalled_running_and_idle_sessions_on_every_node_by_its_answer() {
    let lab = Lab::start(3).await.unwrap();
    cuts_everything(&lab, "disabled", &["user", "update", "disabled", "--disable"]).await;
    assert!(matches!(Sftp::login(lab.sftp_port(1), "disabled").await.unwrap(), Err(NoLogin::Denied)));

    cuts_everything(&lab, "removed", &["user", "remove", "removed"]).await;
    assert!(matches!(Sftp::login(lab.sftp_port(3), "removed").await.unwrap(), Err(NoLogin::Denied)));

    cuts_everything(&lab, "narrowed", &["user", "update", "narrowed", "--permission", "/=list,download"]).await;
    let again = Sftp::login(lab.sftp_port(1), "narrowed").await.unwrap().expect("may still log in");
    assert_eq!(again.download("/big").await.unwrap().len() as u64, 16 * MIB);
    assert!(
        matches!(again.upload("/new", 1000, 1000).await, Upload::Refused(text) if text.contains("PermissionDenied"))
    );
    // What only adds ends nothing, and is there at the next request.
    let (ok, text) = lab.cli(3, &["user", "update", "narrowed", "--permission", "/=*"]).await.unwrap();
    assert!(ok, "{text}");
    lab.until(SOON, "the session may write", async || {
        Ok(matches!(again.upload("/new", 1000, 1000).await, Upload::Stored))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kick_and_a_lowered_limit_end_just_the_sessions_concerned() {
    let lab = Lab::start(3).await.unwrap();
    lab.user("kicked", 0, 0, 0).await.unwrap();
    lab.seed("kicked", "big", 16 * MIB).unwrap();
    let victims = Crowd::gather(&lab, 1, "kicked").await;
    let (_, list) = lab.rest(3).unwrap().get("/api/v2/connections").await.unwrap();
    let rows = list.as_array().expect("a list");
    assert_eq!(rows.len(), 4, "{list}");
    let ids = victims.valves().map(|valve| {
        let own = valve.local_address().to_string();
        let row = rows.iter().find(|row| row["remote_address"] == own.as_str());
        row.unwrap_or_else(|| panic!("{own}: {list}"))["connection_id"].as_str().expect("an id").to_owned()
    });
    let other = Sftp::login(lab.sftp_port(2), "kicked").await.unwrap().expect("login");
    let mut answered = Vec::new();
    for (n, id) in ids.iter().enumerate() {
        let (ok, text) = lab.cli(3, &["session", "kill", id]).await.unwrap();
        let at = victims.at_the_answer(&Connections::now().unwrap());
        assert!(ok && !text.contains("has not confirmed"), "{text}");
        let closed = at.map(|at| at.closed);
        assert_eq!(closed, [0, 1, 2, 3].map(|which| which <= n), "after the kill of the {} one", WHICH[n]);
        answered.push(at[n]);
    }
    assert!(answered[0].arrived < 16 * MIB, "the reader was not stalled");
    victims.is_cut(answered.try_into().ok().expect("one for each"), "session kill").await;
    assert!(matches!(other.upload("/f", 100_000, 32768).await, Upload::Stored));

    lab.user("fewer", 3, 0, 0).await.unwrap();
    let mut sessions = Vec::new();
    for node in [2, 3, 1] {
        sessions.push(Sftp::login(lab.sftp_port(node), "fewer").await.unwrap().expect("login"));
    }
    let (ok, text) = lab.cli(1, &["user", "update", "fewer", "--max-sessions", "1"]).await.unwrap();
    let now = Connections::now().unwrap();
    assert!(ok && !text.contains("has not confirmed"), "{text}");
    let closed: Vec<bool> = sessions.iter().map(|session| now.closed(&session.valve)).collect();
    assert_eq!(closed, [false, true, true], "at the answer");
    for newer in &sessions[1..] {
        assert!(newer.valve.reset(SOON).await.unwrap());
    }
    assert!(matches!(sessions[0].upload("/f", 100_000, 32768).await, Upload::Stored), "the oldest goes on");
    assert!(Sftp::login(lab.sftp_port(2), "fewer").await.unwrap().is_err(), "a second one is refused");
}
