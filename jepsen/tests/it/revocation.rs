//! P3 by hand: disabling ends everything by the time the command answers.

use std::time::{Duration, Instant};

use flotilla_jepsen::client::{NoLogin, Sftp, Upload};
use flotilla_jepsen::lab::Lab;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disabling_ends_transfers_on_every_node_by_its_answer() {
    let lab = Lab::start(3).await.unwrap();
    for round in 0..5 {
        let name = format!("revoked{round}");
        lab.user(&name, 0, 0, 0).await.unwrap();
        let mut sessions = Vec::new();
        for node in 1..=3 {
            sessions.push(Sftp::login(lab.sftp_port(node), &name).await.unwrap().expect("login"));
        }
        let uploads: Vec<_> = sessions
            .iter()
            .map(|sftp| {
                let raw = sftp.raw.clone();
                tokio::spawn(async move {
                    use russh_sftp::protocol::{FileAttributes, OpenFlags};
                    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
                    let handle = raw.open("/endless", flags, FileAttributes::empty()).await?.handle;
                    let mut last = Instant::now();
                    for at in 0.. {
                        match raw.write(&handle, at * 32768, vec![7; 32768]).await {
                            Ok(_) => last = Instant::now(),
                            Err(_) => break,
                        }
                    }
                    Ok::<_, russh_sftp::client::error::Error>(last)
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(300)).await; // the transfers are to be under way; nothing to await
        let asked = Instant::now();
        let (_, mut user) = lab.rest(2).unwrap().get(&format!("/api/v2/users/{name}")).await.unwrap();
        user["status"] = json!(0);
        let (status, answer) = lab.rest(2).unwrap().put(&format!("/api/v2/users/{name}"), &user).await.unwrap();
        let answered = Instant::now();
        assert_eq!(status, 200, "{answer}");
        assert!(asked.elapsed() < Duration::from_millis(1500), "took {:?}", asked.elapsed());
        for (node, upload) in (1..).zip(uploads) {
            let last = tokio::time::timeout(Duration::from_secs(5), upload).await.expect("the transfer ends").unwrap();
            // What was acknowledged before the answer may be read by the client a little later.
            if let Ok(last) = last {
                let late = last.saturating_duration_since(answered);
                assert!(late < Duration::from_millis(250), "node {node} acknowledged {late:?} after the answer");
            }
        }
        for sftp in sessions {
            assert!(sftp.ssh.channel_open_session().await.is_err(), "a new channel opened on an old connection");
        }
        assert!(matches!(Sftp::login(lab.sftp_port(1), &name).await.unwrap(), Err(NoLogin::Denied)));
        assert!(lab.stored(&name).unwrap().1 == 0, "an upload that never closed became visible");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_session_ends_and_others_go_on() {
    let lab = Lab::start(3).await.unwrap();
    lab.user("kicked", 0, 0, 0).await.unwrap();
    let mut victim = Sftp::login(lab.sftp_port(1), "kicked").await.unwrap().expect("login");
    let (_, list) = lab.rest(3).unwrap().get("/api/v2/connections").await.unwrap();
    let id = list[0]["connection_id"].as_str().expect("an id").to_owned();
    let other = Sftp::login(lab.sftp_port(2), "kicked").await.unwrap().expect("login");
    let (status, answer) = lab.rest(3).unwrap().delete(&format!("/api/v2/connections/{id}")).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    victim.ended(Duration::from_secs(2)).await.unwrap();
    assert!(matches!(other.upload("/f", 100_000, 32768).await, Upload::Stored));
}
