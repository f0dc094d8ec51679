//! The restore drill of `docs/backup.md`: save from a running cluster, lose it, begin another one, log in.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use flotilla_jepsen::client::{Sftp, Upload};
use flotilla_jepsen::lab::{Lab, binary};
use flotilla_jepsen::rest::Rest;
use rustix::process::Signal;

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
