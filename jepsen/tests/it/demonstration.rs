//! A new user's first minutes, with OpenSSH's own client.

use flotilla_jepsen::client::{openssh_sftp, openssh_sftp_by_password};
use flotilla_jepsen::lab::Lab;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssh_client_works_through_any_node() {
    let lab = Lab::start(3).await.unwrap();
    let key = lab.folder().join("demo.key");
    let source = lab.folder().join("source.bin");
    let content = flotilla_jepsen::client::pattern(0, 3_000_000);
    std::fs::write(&source, &content).unwrap();
    for node in 1..=3 {
        let back = lab.folder().join(format!("back{node}.bin"));
        let batch = format!(
            "mkdir d{node}\nput {} d{node}/a.bin\nls -l d{node}\nrename d{node}/a.bin d{node}/b.bin\nget d{node}/b.bin {}\n\
             rm d{node}/b.bin\nrmdir d{node}\nls\n",
            source.display(),
            back.display()
        );
        let (ok, out, errors) = openssh_sftp(lab.sftp_port(node), "demo", &key, &batch).await.unwrap();
        assert!(ok, "node {node}: {out}\n{errors}\n{}", lab.log_tails());
        assert_eq!(std::fs::read(&back).unwrap(), content);
        assert!(out.contains("a.bin") && out.contains("3000000"), "{out}");
        let password = lab.demo_password().unwrap();
        let (ok, out, errors) =
            openssh_sftp_by_password(lab.sftp_port(node), "demo", &password, "pwd\n").await.unwrap();
        assert!(ok && out.contains("/"), "by password, node {node}: {out}\n{errors}");
    }
    let mut seen = std::collections::BTreeSet::new();
    for node in 1..=3 {
        let scan = std::process::Command::new("ssh-keyscan")
            .args(["-T", "5", "-t", "ed25519", "-p", &lab.sftp_port(node).to_string(), "127.0.0.1"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&scan.stdout).into_owned();
        let key = text.split("ssh-ed25519 ").nth(1).unwrap_or_else(|| panic!("node {node} shows no key: {text}"));
        seen.insert(key.trim().to_owned());
    }
    assert_eq!(seen.len(), 1, "nodes show different host keys");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_started_again_goes_on_with_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let ports = flotilla_jepsen::lab::Ports::claim().unwrap();
    let offset = ports.offset;
    let mut secrets = Vec::new();
    for run in 0..2 {
        let mut dev = tokio::process::Command::new(flotilla_jepsen::lab::binary().unwrap())
            .args(["dev", "--nodes", "1", "--port-offset", &offset.to_string(), "--dir"])
            .arg(folder.path())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(dev.stdout.take().unwrap()));
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if line == "ready" {
                    return true;
                }
            }
            false
        };
        assert!(tokio::time::timeout(std::time::Duration::from_secs(60), ready).await.unwrap(), "run {run}");
        let key = folder.path().join("demo.key");
        let batch = if run == 0 { "mkdir kept\n" } else { "ls -l kept\nrmdir kept\n" };
        let (ok, _, errors) = openssh_sftp(2022 + offset, "demo", &key, batch).await.unwrap();
        assert!(ok, "run {run}: {errors}");
        secrets.push(std::fs::read(folder.path().join("admin.token")).unwrap());
        let pid = rustix::process::Pid::from_raw(dev.id().unwrap() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(tokio::time::timeout(std::time::Duration::from_secs(10), dev.wait()).await.is_ok());
    }
    assert_eq!(secrets[0], secrets[1]);
}
