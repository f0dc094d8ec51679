//! Storages that are not what the configuration says, or have no room.

use std::time::Duration;

use flotilla_jepsen::client::{Sftp, Upload};
use flotilla_jepsen::lab::Lab;

const MIB: u64 = 1 << 20;
/// Markers are looked at every 1.5 s.
const SOON: Duration = Duration::from_secs(15);

async fn refused(lab: &Lab, node: usize, why: &str) {
    lab.until(SOON, why, async || Ok(lab.unready(node).await?.contains(why))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_without_its_marker_or_of_another_cluster_is_refused_and_comes_back_by_itself() {
    let mut lab = Lab::start(3).await.unwrap();
    lab.user("marked", 0, 0, 0).await.unwrap();
    let sftp = Sftp::login(lab.sftp_port(2), "marked").await.unwrap().expect("login");
    assert!(matches!(sftp.upload("/kept", MIB, 32768).await, Upload::Stored));
    let marker = lab.files().join(".flotilla/marker");
    let text = std::fs::read_to_string(&marker).unwrap();

    std::fs::remove_file(&marker).unwrap();
    refused(&lab, 2, "its marker is missing: is the share mounted").await;
    match sftp.upload("/lost", MIB, 32768).await {
        Upload::Refused(why) => assert!(why.contains("storage"), "{why}"),
        other => panic!("an upload to a folder without a marker: {other:?}"),
    }
    assert!(sftp.raw.remove("/kept").await.is_err());

    let own_id = std::fs::read_to_string(lab.folder().join("cluster.uuid")).unwrap();
    let other_id = "00000000-0000-4000-8000-000000000000";
    std::fs::write(&marker, text.replace(own_id.trim(), other_id)).unwrap();
    refused(&lab, 2, "its marker names another cluster, 00000000").await;
    std::fs::write(&marker, "storage_id = ").unwrap();
    refused(&lab, 2, "its marker is damaged").await;

    std::fs::write(&marker, text).unwrap();
    lab.until_ready(SOON).await.unwrap();
    assert_eq!(sftp.download("/kept").await.unwrap().len() as u64, MIB);
    assert!(matches!(sftp.upload("/new", MIB, 32768).await, Upload::Stored));

    // A node whose folder is not the one that the others share.
    let own_folder = lab.folder().join("not-shared");
    std::fs::create_dir_all(&own_folder).unwrap();
    let conf_d = lab.folder().join("node3/conf.d");
    std::fs::create_dir_all(&conf_d).unwrap();
    let toml = format!("[[storage]]\nname = \"files\"\npath = \"{}\"\n", own_folder.display());
    std::fs::write(conf_d.join("storage.toml"), toml).unwrap();
    lab.stop(3).await.unwrap();
    lab.restart(3).await.unwrap();
    refused(&lab, 3, "is it the same folder as on the other nodes?").await;
    if let Ok(there) = Sftp::login(lab.sftp_port(3), "marked").await.unwrap() {
        assert!(matches!(there.upload("/elsewhere", 1000, 1000).await, Upload::Refused(_)));
    }
    assert!(!own_folder.join("marked/elsewhere").exists(), "a file went where no other node sees it");
    std::fs::remove_dir_all(&conf_d).unwrap();
    lab.stop(3).await.unwrap();
    lab.restart(3).await.unwrap();
    lab.until_ready(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_the_files_fails_uploads_clearly_and_is_over_when_room_returns() {
    let lab = Lab::plan(3).mount("files", 48).start().await.unwrap();
    lab.user("roomy", 0, 40 * MIB, 0).await.unwrap();
    let sftp = Sftp::login(lab.sftp_port(1), "roomy").await.unwrap().expect("login");
    assert!(matches!(sftp.upload("/good", 4 * MIB, 32768).await, Upload::Stored));
    let good = sftp.download("/good").await.unwrap();
    let handle = sftp.create("/open").await.unwrap();
    sftp.raw.write(&handle, 0, vec![1; 32768]).await.unwrap();

    let filling = lab.mounted("files").unwrap().fill().unwrap();
    for name in ["/new", "/good"] {
        match sftp.upload(name, 4 * MIB, 32768).await {
            Upload::Refused(why) => assert!(why.contains("storage is full") && !why.contains("quota"), "{why}"),
            other => panic!("{name}: {other:?}\n{}", lab.log_tails()),
        }
    }
    // A CLOSE after a WRITE that failed fails.
    assert!(sftp.raw.write(&handle, 32768, vec![1; MIB as usize / 8]).await.is_err());
    assert!(sftp.raw.close(&handle).await.is_err());
    assert_eq!(sftp.download("/good").await.unwrap(), good, "what was there is whole");
    assert_eq!(lab.stored("roomy").unwrap(), (4 * MIB, 1), "nothing else became visible");
    counted(&lab, "roomy", 4 * MIB, 1).await;

    drop(filling);
    lab.until_ready(SOON).await.unwrap();
    for node in 1..=3 {
        let sftp = Sftp::login(lab.sftp_port(node), "roomy").await.unwrap().expect("login");
        let outcome = sftp.upload(&format!("/new{node}"), 4 * MIB, 32768).await;
        assert!(matches!(outcome, Upload::Stored), "node {node}: {outcome:?}\n{}", lab.log_tails());
    }
    counted(&lab, "roomy", 16 * MIB, 4).await;
}

/// Usage becomes what is stored: settlements are batched.
async fn counted(lab: &Lab, user: &str, bytes: u64, files: u64) {
    lab.until(SOON, &format!("{bytes} bytes in {files} files are counted"), async || {
        let (_, user) = lab.rest(1)?.get(&format!("/api/v2/users/{user}")).await?;
        Ok(user["used_quota_size"].as_u64() == Some(bytes) && user["used_quota_files"].as_u64() == Some(files))
    })
    .await
    .unwrap();
}
