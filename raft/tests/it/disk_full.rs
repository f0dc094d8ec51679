//! A full disk under the log: the node says so, acknowledges nothing more, and loses nothing when there is room again.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use flotilla_cluster::Cluster;
use flotilla_model::Command as Change;
use flotilla_model::command::PutToken;

use crate::cluster::{LONG, Testbed, leader, put_token, request};

const PLACE: &str = "FLOTILLA_SMALL_DISK";

/// Runs itself again in a mount namespace of its own, on a file system of 48 MiB.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_disk_is_full_stops_with_a_reason_and_loses_nothing() {
    if let Some(place) = std::env::var_os(PLACE) {
        return fill_and_free(Path::new(&place)).await;
    }
    if !Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success()) {
        return crate::cluster::lacks("this user may not mount a small file system (unshare -m)");
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let name = "disk_full::a_node_whose_disk_is_full_stops_with_a_reason_and_loses_nothing";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", r#"mount -t tmpfs -o size=48m flotilla "$TMPDIR" && exec "$@""#, "sh"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", name, "--nocapture"])
        .env("TMPDIR", dir.path())
        .env(PLACE, dir.path())
        .output()
        .expect("unshare");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
}

/// Taken or refused, it lies in the log.
fn large() -> Change {
    let permissions = (0..200).map(|number| format!("{number:0200}")).collect();
    Change::PutToken(PutToken { name: "large".into(), hash: [0; 32], permissions, expires_at: 0, replace: true })
}

/// Leaves about 2 MiB of the file system free.
fn fill(path: &Path) -> File {
    let mut ballast = File::create(path).expect("the ballast");
    let block = vec![7; 64 << 10];
    while ballast.write_all(&block).is_ok() {}
    let length = ballast.metadata().expect("its length").len();
    ballast.set_len(length - (2 << 20)).expect("a little room");
    ballast
}

async fn fill_and_free(place: &Path) {
    let bed = Testbed::new(1);
    let mut nodes = bed.start_all().await;
    leader(&nodes).await;
    let handle = nodes[0].handle.clone();
    let ballast = fill(&place.join("ballast"));
    let mut acknowledged = Vec::new();
    let within = Duration::from_secs(5);
    let failed = loop {
        assert!(acknowledged.len() < 2_000, "the disk never becomes full");
        let name = format!("token-{}", acknowledged.len());
        match handle.submit(request(), "test", put_token(&name), within).await {
            Ok(submitted) => submitted.reply.expect("the token is taken"),
            Err(error) => break error,
        };
        acknowledged.push(name);
        if let Err(error) = handle.submit(request(), "test", large(), within).await {
            break error;
        }
    };
    println!("after {} acknowledged: {failed}", acknowledged.len());
    assert!(!acknowledged.is_empty(), "there was room at first");
    let mut failure = handle.failure();
    let why = tokio::time::timeout(LONG, failure.wait_for(Option::is_some)).await.expect("in time");
    let why = why.expect("the handle lives").clone().expect("a reason");
    assert!(why.contains("No space left on device"), "{why}");
    let refused = handle.submit(request(), "test", put_token("late"), within).await.expect_err("it has stopped");
    assert!(refused.is_definite() && refused.to_string().contains("No space left on device"), "{refused}");
    handle.barrier(within).await.expect_err("nobody leads");
    drop(ballast);
    std::fs::remove_file(place.join("ballast")).expect("room again");
    nodes[0].kill();
    nodes[0] = bed.start(1).await;
    leader(&nodes).await;
    nodes[0].handle.barrier(LONG).await.expect("a read");
    for name in &acknowledged {
        assert!(nodes[0].handle.state().token(name).is_some(), "{name} was acknowledged");
    }
    nodes[0].handle.submit(request(), "test", put_token("late"), LONG).await.expect("an answer").reply.expect("taken");
}
