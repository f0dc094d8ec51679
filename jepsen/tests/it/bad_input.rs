//! What an operator gets wrong: each a clear error, nothing lost.

use std::process::Command;

use flotilla_jepsen::lab::{Lab, binary};

fn flotilla(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(binary().unwrap()).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_are_named_and_nothing_starts() {
    let lab = Lab::start(1).await.unwrap();
    let config = lab.folder().join("node1/flotilla.toml");
    let config = config.to_str().unwrap();

    let (ok, text) = flotilla(&["serve", "--config", config]);
    assert!(!ok && (text.contains("lock") || text.contains("in use")), "second process on one data folder: {text}");

    let (ok, text) = flotilla(&[
        "dev",
        "--nodes",
        "1",
        "--port-offset",
        &(lab.sftp_port(1) - 2022).to_string(),
        "--dir",
        "/tmp/flotilla-unused",
    ]);
    assert!(!ok && text.contains("occupied") && text.contains("port"), "occupied port: {text}");
    let _ = std::fs::remove_dir_all("/tmp/flotilla-unused");

    let wrong = lab.folder().join("wrong.toml");
    std::fs::write(&wrong, std::fs::read_to_string(config).unwrap().replace("[log]", "[log]\ncolour = true")).unwrap();
    let (ok, text) = flotilla(&["config", "check", "--config", wrong.to_str().unwrap()]);
    assert!(!ok && text.contains("colour"), "unknown key: {text}");

    std::fs::write(&wrong, std::fs::read_to_string(config).unwrap().replace("127.0.0.1:", "127.0.0.1.")).unwrap();
    let (ok, text) = flotilla(&["config", "check", "--config", wrong.to_str().unwrap()]);
    assert!(!ok && text.contains("address"), "bad address: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_folder_and_storage_of_another_cluster_are_refused() {
    let lab = Lab::start(1).await.unwrap();
    let config = std::fs::read_to_string(lab.folder().join("node1/flotilla.toml")).unwrap();
    let id = std::fs::read_to_string(lab.folder().join("cluster.uuid")).unwrap();
    let other = lab.folder().join("other.toml");
    let moved = config.replace(id.trim(), "00000000-0000-4000-8000-000000000000");
    rustix::process::kill_process(rustix::process::Pid::from_raw(lab.pid(1)).unwrap(), rustix::process::Signal::KILL)
        .unwrap();
    std::fs::write(&other, moved).unwrap();
    let (ok, text) = flotilla(&["serve", "--config", other.to_str().unwrap()]);
    assert!(!ok && text.contains("cluster"), "data folder of another cluster: {text}");
}
