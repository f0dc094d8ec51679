//! A node that runs out of file descriptors stays alive, says so, and recovers.

use std::net::TcpStream;
use std::time::Duration;

use flotilla_jepsen::client::{Sftp, Upload};
use flotilla_jepsen::lab::Lab;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_descriptors_stays_alive_says_so_and_recovers() {
    let lab = Lab::start(3).await.unwrap();
    lab.user("patient", 0, 0, 0).await.unwrap();
    let port = lab.sftp_port(1);
    let before = Sftp::login(port, "patient").await.unwrap().expect("login");
    let open = std::fs::read_dir(format!("/proc/{}/fd", lab.pid(1))).unwrap().count() as u64;
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: Some(open + 20), maximum };
    let old = prlimit(Pid::from_raw(lab.pid(1)), Resource::Nofile, limit).unwrap();

    let greedy: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    lab.until(SOON, "the log names the lack", async || {
        Ok(lab
            .log(1)
            .lines()
            .any(|line| line.contains("connections cannot be accepted") && line.contains("LimitNOFILE")))
    })
    .await
    .unwrap();
    // Who is in is served, the other nodes do not notice.
    before.raw.stat("/").await.expect("a session that was there goes on");
    let elsewhere = Sftp::login(lab.sftp_port(2), "patient").await.unwrap().expect("login");
    assert!(matches!(elsewhere.upload("/elsewhere", 100_000, 32768).await, Upload::Stored));
    assert!(std::path::Path::new(&format!("/proc/{}", lab.pid(1))).exists(), "the node ended");

    drop(greedy);
    lab.until(SOON, "logins are taken again with the same limit", async || {
        Ok(Sftp::login(port, "patient").await?.is_ok())
    })
    .await
    .unwrap();
    assert!(matches!(before.upload("/before", 100_000, 32768).await, Upload::Stored));
    lab.until_ready(SOON).await.unwrap();
    assert!(!lab.log(1).contains("panicked"), "{}", lab.log(1));
    // One line per while, not one per attempt.
    let lines = lab.log(1).matches("connections cannot be accepted").count();
    assert!(lines < 20, "{lines} lines");
    prlimit(Pid::from_raw(lab.pid(1)), Resource::Nofile, old).unwrap();
}
