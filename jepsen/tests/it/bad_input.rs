//! What an operator gets wrong: each a clear error that names it, and nothing is lost.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use flotilla_jepsen::client::{Sftp, Upload};
use flotilla_jepsen::lab::{Lab, binary};

const SOON: Duration = Duration::from_secs(20);

fn flotilla(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(binary().unwrap()).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Every text must be in what was said.
fn says(said: &str, texts: &[&str]) {
    for text in texts {
        assert!(said.contains(text), "{text:?} is not in: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_are_named_and_nothing_is_lost() {
    let mut lab = Lab::start(1).await.unwrap();
    lab.user("kept", 0, 0, 0).await.unwrap();
    let before = Sftp::login(lab.sftp_port(1), "kept").await.unwrap().expect("login");
    assert!(matches!(before.upload("/kept", 100_000, 32768).await, Upload::Stored));

    wrong_configurations(&lab);
    occupied_by_a_running_node(&lab);
    lab.stop(1).await.unwrap();
    occupied_ports(&mut lab).await;
    data_of_others(&mut lab).await;

    lab.restart(1).await.unwrap();
    lab.until_ready(SOON).await.unwrap();
    let after = Sftp::login(lab.sftp_port(1), "kept").await.unwrap().expect("login");
    assert_eq!(after.download("/kept").await.unwrap().len(), 100_000);
}

fn wrong_configurations(lab: &Lab) {
    let right = std::fs::read_to_string(lab.folder().join("node1/flotilla.toml")).unwrap();
    let wrong = lab.folder().join("wrong.toml");
    let peers = format!("listen = \"127.0.0.1:{}\"", lab.peer_port(1));
    let cases: [(&str, &str, &[&str]); 6] = [
        ("[log]", "[log]\ncolour = true", &["colour"]),
        ("[log]", "[looks]\ncolour = true\n[log]", &["looks"]),
        (&peers, "listen = \"127.0.0.1.8082\"", &["peers.listen", "address"]),
        (&peers, "listen = \"nowhere:8082\"", &["peers.listen", "address"]),
        ("level = ", "level = 7 # ", &["log.level"]),
        ("snapshot_entries = 20000", "snapshot_entries = 0", &["raft.snapshot_entries", "at least 1"]),
    ];
    for (from, to, texts) in cases {
        let text = right.replace(from, to);
        assert_ne!(text, right, "{from:?} is not in the file");
        std::fs::write(&wrong, text).unwrap();
        for verb in [vec!["config", "check"], vec!["serve"]] {
            let arguments = [verb, vec!["--config", wrong.to_str().unwrap()]].concat();
            let (ok, said) = flotilla(&arguments);
            assert!(!ok, "{arguments:?} took {to:?}");
            says(&said, texts);
            says(&said, &["wrong.toml"]);
        }
    }
    let (ok, said) = flotilla(&["serve", "--config", "/nowhere/flotilla.toml"]);
    assert!(!ok);
    says(&said, &["/nowhere/flotilla.toml"]);
}

fn occupied_by_a_running_node(lab: &Lab) {
    let config = lab.folder().join("node1/flotilla.toml");
    let (ok, said) = flotilla(&["serve", "--config", config.to_str().unwrap()]);
    assert!(!ok);
    says(&said, &["peers.listen", "another program"]);

    // The same data folder under other addresses.
    let text = std::fs::read_to_string(&config).unwrap();
    let moved = [lab.peer_port(1), lab.admin_port(1), lab.sftp_port(1)]
        .iter()
        .fold(text, |text, port| text.replace(&format!(":{port}"), &format!(":{}", port + 5)));
    let other = lab.folder().join("node1/moved.toml");
    std::fs::write(&other, moved).unwrap();
    let (ok, said) = flotilla(&["serve", "--config", other.to_str().unwrap()]);
    assert!(!ok);
    says(&said, &["data folder", "node1/data", "in use by another process"]);
    std::fs::remove_file(other).unwrap();

    let unused = lab.folder().join("unused");
    let offset = (lab.sftp_port(1) - 2022).to_string();
    let dev = ["dev", "--nodes", "1", "--port-offset", &offset, "--dir", unused.to_str().unwrap()];
    let (ok, said) = flotilla(&dev);
    assert!(!ok);
    says(&said, &["port", "occupied", "--port-offset"]);
}

async fn occupied_ports(lab: &mut Lab) {
    for (key, port) in
        [("peers.listen", lab.peer_port(1)), ("admin.listen", lab.admin_port(1)), ("sftp.listen", lab.sftp_port(1))]
    {
        let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let said = lab.refuses_to_start(1).await.unwrap();
        says(&said, &[key, &port.to_string(), "another program", "change the key"]);
    }
}

async fn data_of_others(lab: &mut Lab) {
    let own_id = std::fs::read_to_string(lab.folder().join("cluster.uuid")).unwrap();
    let config = lab.folder().join("node1/flotilla.toml");
    let right = std::fs::read_to_string(&config).unwrap();
    let other_id = "00000000-0000-4000-8000-000000000000";
    std::fs::write(&config, right.replace(own_id.trim(), other_id)).unwrap();
    // Certificates of one cluster, configuration of another: found before the folder is touched, or by the folder.
    let said = lab.refuses_to_start(1).await.unwrap();
    says(&said, &["cluster", other_id]);
    std::fs::write(&config, &right).unwrap();

    let version = lab.folder().join("node1/data/VERSION");
    let own = std::fs::read(&version).unwrap();
    // CRC32 of the one byte behind it, little-endian: version 99.
    std::fs::write(&version, [0x6f, 0xdf, 0xb9, 0x06, 99]).unwrap();
    let said = lab.refuses_to_start(1).await.unwrap();
    says(&said, &["version 99", "newer"]);
    std::fs::write(&version, own).unwrap();

    let start = lab.folder().join("node1/data/START");
    let own = std::fs::read(&start).unwrap();
    std::fs::write(&start, b"torn").unwrap();
    let said = lab.refuses_to_start(1).await.unwrap();
    says(&said, &["START", "damaged"]);
    std::fs::write(&start, own).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_folder_set_back_to_an_older_copy_is_refused_by_the_peers() {
    let mut lab = Lab::start(3).await.unwrap();
    let data = lab.folder().join("node3/data");
    let (older, newer) = (lab.folder().join("older"), lab.folder().join("newer"));
    lab.stop(3).await.unwrap();
    copy(&data, &older);
    lab.restart(3).await.unwrap();
    lab.until_ready(SOON).await.unwrap();
    lab.user("later", 0, 0, 0).await.unwrap();
    let login = Sftp::login(lab.sftp_port(3), "later").await.unwrap().expect("login");
    login.leave().await;
    lab.stop(3).await.unwrap();
    copy(&data, &newer);

    std::fs::remove_dir_all(&data).unwrap();
    copy(&older, &data);
    lab.restart(3).await.unwrap();
    lab.until(SOON, "the peers' refusal is shown", async || Ok(lab.unready(3).await?.contains("refuses this node")))
        .await
        .unwrap();
    says(&lab.unready(3).await.unwrap(), &["set back", "remove the node", "join it afresh"]);
    says(&lab.log(1), &["peer_refused", "set back"]);
    lab.commits(1, "without", 5).await.unwrap();
    assert!(Sftp::login(lab.sftp_port(3), "later").await.unwrap().is_err(), "a node that was set back lets users in");

    // The right folder put back is taken: nothing was lost.
    lab.stop(3).await.unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    copy(&newer, &data);
    lab.restart(3).await.unwrap();
    lab.until_ready(SOON).await.unwrap();
    Sftp::login(lab.sftp_port(3), "later").await.unwrap().expect("login");
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}
