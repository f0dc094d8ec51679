//! Clocks that jump: nothing exclusive depends on the wall clock, and boot clocks are never compared between machines.
//!
//! A monotonic clock that runs at another rate cannot be made here without touching the machine's own: rates are tested
//! with the `Clock` trait in `raft/`.

use std::time::Duration;

use flotilla_jepsen::client::{Sftp, Upload};
use flotilla_jepsen::lab::Lab;
use flotilla_jepsen::probe::faketime;
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);

/// What is loaded before a process whose clock is to be turned.
pub fn library() -> String {
    let found = faketime().expect("libfaketime is needed: apt-get install faketime (make test-needs does)");
    found.to_str().expect("a path that is text").to_owned()
}

/// The wall clock of one node, offset by what the file says; its other clocks start at other values.
struct Wall {
    file: std::path::PathBuf,
}

impl Wall {
    fn new(lab: &Lab) -> Wall {
        let wall = Wall { file: lab.folder().join("wall") };
        wall.jump("+0");
        wall
    }

    fn jump(&self, offset: &str) {
        // By a rename: the library reads it at every look at the clock.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{offset}\n")).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    async fn restart(&self, lab: &mut Lab, node: usize) {
        let preload = format!("LD_PRELOAD={}", library());
        let file = format!("FAKETIME_TIMESTAMP_FILE={}", self.file.display());
        let own_clocks = ["unshare", "--time", "--boottime", "1000000", "--monotonic", "500000"];
        let faked = ["env", &preload, &file, "FAKETIME_NO_CACHE=1", "DONT_FAKE_MONOTONIC=1"];
        lab.stop(node).await.unwrap();
        lab.restart_under(node, &[own_clocks.as_slice(), faked.as_slice()].concat()).await.unwrap();
        lab.until_ready(SOON).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_that_jumps_costs_no_session_no_lease_and_no_file() {
    let mut lab = Lab::start(3).await.unwrap();
    lab.user("timely", 1, 64 << 20, 0).await.unwrap();
    let wall = Wall::new(&lab);
    let leader = lab.leader().await.unwrap();
    let follower = leader % 3 + 1;
    // A follower first; then the leader, which gives the entries their wall clock.
    wall.restart(&mut lab, follower).await;
    jumps(&lab, &wall, follower, "follower").await;
    lead(&mut lab, follower).await;
    jumps(&lab, &wall, follower, "leader").await;
}

/// Lets `wanted` lead: the others are stopped one after the other until it does.
async fn lead(lab: &mut Lab, wanted: usize) {
    for _ in 0..20 {
        let leader = lab.leader().await.unwrap();
        if leader == wanted {
            return;
        }
        lab.stop(leader).await.unwrap();
        lab.restart(leader).await.unwrap();
        lab.until_ready(SOON).await.unwrap();
    }
    panic!("node {wanted} never leads");
}

async fn jumps(lab: &Lab, wall: &Wall, node: usize, role: &str) {
    let session = Sftp::login(lab.sftp_port(node), "timely").await.unwrap().expect("login");
    let before = lab.log(node);
    for (n, offset) in ["+3600", "-3600", "+100000000", "+0"].into_iter().enumerate() {
        wall.jump(offset);
        let what = format!("{role}, wall clock at {offset}");
        let file = format!("/{role}{n}");
        let outcome = session.upload(&file, 1 << 20, 32768).await;
        assert!(matches!(outcome, Upload::Stored), "{what}: {outcome:?}\n{}", lab.log_tails());
        let other = Sftp::login(lab.sftp_port(node % 3 + 1), "timely").await.unwrap();
        assert!(other.is_err(), "{what}: a second session was let in");
        // A change through a node whose clock is wrong is made, or refused with the clock as the reason.
        let body = json!({"username": format!("{role}-made{n}"), "status": 1, "permissions": {"/": ["*"]}});
        let (status, answer) = lab.rest(node).unwrap().post("/api/v2/users", &body).await.unwrap();
        let refused_for_its_clock = offset != "+0" && answer.to_string().contains("clock");
        assert!(status == 201 || refused_for_its_clock, "{what}: {status} {answer}");
    }
    let after = lab.log(node).split_off(before.len());
    assert!(!after.contains("lease_lost"), "{role}: {after}");
    assert_eq!(session.download(&format!("/{role}0")).await.unwrap().len(), 1 << 20);
    session.leave().await;
}
