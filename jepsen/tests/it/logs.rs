//! What an operator reads in the logs of a bad day: each line JSON, each event with who, where and why.

use std::time::Duration;

use flotilla_jepsen::client::{NoLogin, Sftp, Upload};
use flotilla_jepsen::lab::Lab;

const SOON: Duration = Duration::from_secs(30);

/// Waits until a node has a line in which `key` is `value` and each field has its value.
async fn tells(lab: &Lab, node: usize, key: &str, value: &str, fields: &[(&str, &str)]) {
    let what = format!("node {node} logs {key}={value} with {fields:?}");
    lab.until(SOON, &what, async || {
        let lines = lab.logged(node, key, value)?;
        Ok(lines
            .iter()
            .any(|line| fields.iter().all(|(name, part)| line[*name].as_str().is_some_and(|text| text.contains(part)))))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_ends_uploads_fences_and_lost_leases_are_logged_with_who_and_why() {
    let mut lab = Lab::start(3).await.unwrap();
    lab.user("logged", 1, 64 << 20, 0).await.unwrap();
    let denied = Sftp::login_with(lab.sftp_port(1), "logged", "wrong").await.unwrap();
    assert!(matches!(denied, Err(NoLogin::Denied)));
    tells(
        &lab,
        1,
        "sender",
        "connection_failed",
        &[("username", "logged"), ("client_ip", "127.0.0.1"), ("error", "credential")],
    )
    .await;

    let first = Sftp::login(lab.sftp_port(1), "logged").await.unwrap().expect("login");
    tells(&lab, 1, "sender", "login", &[("username", "logged"), ("method", "password"), ("ip", "127.0.0.1")]).await;
    assert!(Sftp::login(lab.sftp_port(2), "logged").await.unwrap().is_err());
    tells(&lab, 2, "sender", "connection_failed", &[("username", "logged"), ("error", "session")]).await;
    assert!(matches!(first.upload("/f", 100_000, 32768).await, Upload::Stored));
    tells(&lab, 1, "sender", "Upload", &[("username", "logged"), ("virtual_path", "/f")]).await;
    first.leave().await;
    tells(&lab, 1, "sender", "session_end", &[("username", "logged"), ("reason", "closed")]).await;

    // A node that dies with an upload open; the next change in the account fences it.
    let dying = Sftp::login(lab.sftp_port(3), "logged").await.unwrap().expect("login");
    let handle = dying.create("/cut").await.unwrap();
    dying.raw.write(&handle, 0, vec![1; 32768]).await.unwrap();
    lab.kill(3).unwrap();
    let next = Sftp::login(lab.sftp_port(1), "logged").await.unwrap().expect("login");
    assert!(matches!(next.upload("/g", 1000, 1000).await, Upload::Stored));
    tells(&lab, 1, "sender", "fence", &[]).await;

    // Alone, node 1 loses its quorum, its lease and with it the session.
    lab.kill(2).unwrap();
    tells(&lab, 1, "event", "quorum_lost", &[]).await;
    tells(&lab, 1, "event", "lease_lost", &[]).await;
    tells(&lab, 1, "sender", "session_end", &[("username", "logged"), ("reason", "lost its lease")]).await;
}
