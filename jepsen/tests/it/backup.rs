//! The restore drill of `docs/backup.md`: save from a running cluster, lose it, begin another one, log in. And one that is saved
//! from under many writers, and restored beside nodes of the old cluster.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use flotilla_jepsen::client::{Sftp, Upload};
use flotilla_jepsen::lab::{Lab, binary};
use flotilla_jepsen::rest::Rest;
use rustix::process::Signal;
use serde_json::json;
use tokio::sync::watch;

const SOON: Duration = Duration::from_secs(20);

async fn flotilla(lab: &Lab, arguments: &[&str]) -> (bool, String) {
    let output = tokio::process::Command::new(binary().unwrap())
        .env("FLOTILLA_ENDPOINT", format!("http://127.0.0.1:{}", lab.admin_port(1)))
        .arg("--token-file")
        .arg(lab.folder().join("admin.token"))
        .args(arguments)
        .output()
        .await
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn key(file: &Path, digits: &str) -> String {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let mut out = options.write(true).create_new(true).mode(0o600).open(file).unwrap();
    std::io::Write::write_all(&mut out, digits.repeat(32).as_bytes()).unwrap();
    file.to_str().unwrap().to_owned()
}

fn host_key(port: u16) -> String {
    let scan = std::process::Command::new("ssh-keyscan")
        .args(["-T", "10", "-t", "ed25519", "-p", &port.to_string(), "127.0.0.1"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&scan.stdout).into_owned();
    text.split("ssh-ed25519 ").nth(1).unwrap_or_else(|| panic!("no host key: {text}")).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saved_cluster_begins_again_elsewhere_with_its_users_limits_and_host_keys() {
    let lab = Lab::start(1).await.unwrap();
    lab.user("saved", 1, 5 << 20, 0).await.unwrap();
    let session = Sftp::login(lab.sftp_port(1), "saved").await.unwrap().unwrap();
    assert!(matches!(session.upload("/a.bin", 2 << 20, 32 * 1024).await, Upload::Stored));
    let keys_before = host_key(lab.sftp_port(1));

    // Saved while a session lives and holds a grant.
    let file = lab.folder().join("state.backup");
    let file = file.to_str().unwrap();
    let right = key(&lab.folder().join("backup.key"), "a5");
    let (ok, text) = flotilla(&lab, &["backup", "save", file, "--key-file", &right]).await;
    assert!(ok, "{text}");
    let (ok, text) = flotilla(&lab, &["backup", "save", file]).await;
    assert!(!ok && text.contains("state.backup"), "an existing file is not overwritten: {text}");
    let (ok, text) = flotilla(&lab, &["-o", "json", "backup", "inspect", file, "--key-file", &right]).await;
    assert!(ok && text.contains("\"checked\": true") && text.contains("\"users\": 2"), "{text}");
    let (ok, text) = flotilla(&lab, &["-o", "json", "backup", "inspect", file]).await;
    assert!(ok && text.contains("\"checked\": false") && text.contains("--key-file"), "{text}");
    let wrong = key(&lab.folder().join("wrong.key"), "5a");
    let (ok, text) = flotilla(&lab, &["backup", "inspect", file, "--key-file", &wrong]).await;
    assert!(!ok && text.contains("another key"), "{text}");

    // The cluster is lost; its storage is not.
    lab.signal(1, Signal::KILL).unwrap();
    let old = std::fs::read_to_string(lab.folder().join("node1/flotilla.toml")).unwrap();
    let old_id = std::fs::read_to_string(lab.folder().join("cluster.uuid")).unwrap();
    let new = lab.folder().join("restored");
    std::fs::create_dir(&new).unwrap();
    let config = new.join("flotilla.toml");
    let node1 = lab.folder().join("node1").to_str().unwrap().to_owned();
    let moved = old.replace(&node1, new.to_str().unwrap());
    let config_path = config.to_str().unwrap().to_owned();
    let old_key = lab.folder().join("node1/data/identity/cluster.key").to_str().unwrap().to_owned();
    let restore =
        ["backup", "restore", file, "--key-file", &right, "--old-cluster-key-file", &old_key, "--config", &config_path];
    std::fs::write(&config, &moved).unwrap();
    let (ok, text) = flotilla(&lab, &restore).await;
    assert!(!ok && text.contains("cluster_id"), "the saved cluster's id is refused: {text}");
    std::fs::write(&config, moved.replace(old_id.trim(), "11111111-2222-4333-8444-555555555555")).unwrap();
    let (ok, text) = flotilla(&lab, &restore).await;
    assert!(ok && text.contains("restored 2 users"), "{text}");
    let (ok, text) = flotilla(&lab, &restore).await;
    assert!(!ok && text.contains("data"), "a second restore into the same folder is refused: {text}");

    // The operator's word that no old node uses the storage any more.
    std::fs::remove_file(lab.files().join(".flotilla/marker")).unwrap();
    let log = std::fs::File::create(new.join("stderr.log")).unwrap();
    let mut serve = tokio::process::Command::new(binary().unwrap())
        .args(["serve", "--config", &config_path])
        .stdin(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let tail = || std::fs::read_to_string(new.join("node.log")).unwrap_or_default();
    let ready = lab.until(Duration::from_secs(60), "the restored node is ready", async || {
        Ok(Rest::new(lab.admin_port(1), None).get("/readyz").await.is_ok_and(|(status, _)| status == 200))
    });
    ready.await.unwrap_or_else(|error| panic!("{error:#}\n{}", tail()));
    assert_eq!(host_key(lab.sftp_port(1)), keys_before, "clients notice nothing");

    // The admin token of the backup works; nobody is connected; usage becomes exact by the scan that was asked for.
    let rest = lab.rest(1).unwrap();
    let (status, rows) = rest.get("/api/v2/connections").await.unwrap();
    assert_eq!((status, rows.as_array().map(Vec::len)), (200, Some(0)), "{rows}");
    lab.until(Duration::from_secs(60), "the scan has counted what is stored", async || {
        let (_, user) = rest.get("/api/v2/users/saved").await?;
        Ok(user["used_quota_size"].as_u64() == Some(2 << 20) && user["used_quota_files"].as_u64() == Some(1))
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}\n{}", tail()));
    let session = Sftp::login(lab.sftp_port(1), "saved").await.unwrap();
    let session = session.unwrap_or_else(|error| panic!("{error:?}\n{}", tail()));
    assert!(matches!(session.upload("/b.bin", 4 << 20, 32 * 1024).await, Upload::Refused(_)), "the quota holds");
    assert!(matches!(session.upload("/c.bin", 1 << 20, 32 * 1024).await, Upload::Stored));
    assert!(Sftp::login(lab.sftp_port(1), "saved").await.unwrap().is_err(), "the limit of one session holds");
    serve.start_kill().unwrap();
    serve.wait().await.unwrap();
}

/// Makes users one after the other through a node; how many were asked for and how many were acknowledged so far.
async fn write(rest: Rest, name: String, counts: watch::Sender<(usize, usize)>, over: watch::Receiver<bool>) {
    for n in 0.. {
        if *over.borrow() {
            return;
        }
        counts.send_modify(|(asked, _)| *asked = n + 1);
        let body = json!({"username": format!("{name}n{n:05}"), "status": 1, "permissions": {"/": ["*"]}});
        let (status, answer) = rest.post("/api/v2/users", &body).await.unwrap();
        assert_eq!(status, 201, "{answer}");
        counts.send_modify(|(_, acknowledged)| *acknowledged = n + 1);
    }
}

const WRITERS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_writers_is_one_cut_and_the_restored_cluster_refuses_the_old_ones_peers() {
    let mut lab = Lab::start(3).await.unwrap();
    let over = watch::Sender::new(false);
    let (counts, mut seen): (Vec<_>, Vec<_>) = (0..WRITERS).map(|_| watch::channel((0, 0))).unzip();
    let writers: Vec<_> = counts
        .into_iter()
        .enumerate()
        .map(|(n, counts)| {
            let rest = lab.rest(n % 3 + 1).unwrap();
            tokio::spawn(write(rest, format!("writer{n}"), counts, over.subscribe()))
        })
        .collect();
    for counts in &mut seen {
        tokio::time::timeout(SOON, counts.wait_for(|(_, done)| *done >= 20)).await.expect("they write").unwrap();
    }
    let before: Vec<usize> = seen.iter().map(|counts| counts.borrow().1).collect();
    let file = lab.folder().join("state.backup").to_str().unwrap().to_owned();
    let (ok, text) = flotilla(&lab, &["backup", "save", &file]).await;
    assert!(ok, "{text}");
    let after: Vec<usize> = seen.iter().map(|counts| counts.borrow().0).collect();
    for counts in &mut seen {
        let now = counts.borrow().1;
        tokio::time::timeout(SOON, counts.wait_for(|(_, done)| *done > now)).await.expect("they go on").unwrap();
    }
    over.send_replace(true);
    for writer in writers {
        writer.await.unwrap();
    }

    // Another cluster begins where node 1 was; nodes 2 and 3 of the old one go on, and dial that address.
    lab.kill(1).unwrap();
    let gone = PathBuf::from(format!("/proc/{}", lab.pid(1)));
    lab.until(SOON, "the killed process is gone", async || Ok(!gone.exists())).await.unwrap();
    let new = lab.folder().join("restored");
    std::fs::create_dir_all(new.join("files")).unwrap();
    let config = new.join("flotilla.toml").to_str().unwrap().to_owned();
    let old_id = std::fs::read_to_string(lab.folder().join("cluster.uuid")).unwrap();
    let text = std::fs::read_to_string(lab.folder().join("node1/flotilla.toml")).unwrap();
    let text = text.replace(lab.folder().join("node1").to_str().unwrap(), new.to_str().unwrap());
    let text = text.replace(lab.files().to_str().unwrap(), new.join("files").to_str().unwrap());
    std::fs::write(&config, text.replace(old_id.trim(), "11111111-2222-4333-8444-555555555555")).unwrap();
    let old_key = lab.folder().join("node1/data/identity/cluster.key").to_str().unwrap().to_owned();
    let restore = ["backup", "restore", &file, "--old-cluster-key-file", &old_key, "--config", &config];
    let (ok, text) = flotilla(&lab, &restore).await;
    assert!(ok, "{text}");
    let mut serve = tokio::process::Command::new(binary().unwrap())
        .args(["serve", "--config", &config])
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(new.join("stderr.log")).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let log = || std::fs::read_to_string(new.join("node.log")).unwrap_or_default();
    let rest = lab.rest(1).unwrap();
    lab.until(Duration::from_secs(60), "the restored node answers", async || {
        Ok(rest.get("/api/v2/users/demo").await.is_ok_and(|(status, _)| status == 200))
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}\n{}", log()));

    // One cut: of each writer all up to some point, not less than it had been told, not more than it had asked for.
    for n in 0..WRITERS {
        let count = async |upper: usize| {
            let (mut there, mut missing) = (0, false);
            for at in 0..upper {
                let (status, _) = rest.get(&format!("/api/v2/users/writer{n}n{at:05}")).await.unwrap();
                assert!(
                    status == 404 || (status == 200 && !missing),
                    "writer {n}: {at} is there, one before it is not"
                );
                missing |= status == 404;
                there += usize::from(status == 200);
            }
            there
        };
        let there = count(after[n] + 5).await;
        let (least, most) = (before[n], after[n]);
        assert!((least..=most).contains(&there), "writer {n}: {there}, not {least} to {most}");
    }

    // It has a CA of its own: the old leader, which goes on calling that address, does not take it for its member.
    let refuses = async || Ok([2, 3].iter().any(|old| lab.log(*old).contains("UnknownIssuer")));
    lab.until(SOON, "the old leader refuses who answers at that address", refuses).await.unwrap();
    let (_, view) = rest.get("/api/v2/cluster").await.unwrap();
    let nodes: Vec<u64> = view["nodes"].as_array().unwrap().iter().filter_map(|node| node["id"].as_u64()).collect();
    assert_eq!(nodes, [1], "{view}");
    let (_, old) = lab.rest(2).unwrap().get("/api/v2/cluster").await.unwrap();
    assert_ne!(view["cluster_id"], old["cluster_id"]);
    let (status, answer) = lab.rest(3).unwrap().get("/api/v2/users/demo").await.unwrap();
    assert_eq!(status, 200, "the old cluster's majority goes on: {answer}");
    serve.start_kill().unwrap();
    serve.wait().await.unwrap();
}
