//! A new user's first minutes, with OpenSSH's own client.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use flotilla_jepsen::balancer::Held;
use flotilla_jepsen::client::{openssh_sftp, openssh_sftp_by_password, pattern};
use flotilla_jepsen::lab::{Lab, Ports, binary};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// Uploads, lists, downloads, renames and removes in a folder of its own, and lists what is left.
fn round(folder: &str, source: &Path, back: &Path) -> String {
    format!(
        "mkdir {folder}\nput {} {folder}/a.bin\nls -l {folder}\nrename {folder}/a.bin {folder}/b.bin\nls {folder}\n\
         get {folder}/b.bin {}\nrm {folder}/b.bin\nrmdir {folder}\nls\n",
        source.display(),
        back.display()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssh_client_works_through_any_node_with_key_and_password() {
    let lab = Lab::start(3).await.unwrap();
    let (key, password) = (lab.folder().join("demo.key"), lab.demo_password().unwrap());
    let source = lab.folder().join("source.bin");
    let content = pattern(0, 3_000_000);
    std::fs::write(&source, &content).unwrap();
    for (node, by) in (1..=3).flat_map(|node| [(node, "key"), (node, "password")]) {
        let (folder, port) = (format!("{by}{node}"), lab.sftp_port(node));
        let back = lab.folder().join(format!("{folder}.back"));
        let batch = round(&folder, &source, &back);
        let (ok, out, errors) = match by {
            "key" => openssh_sftp(port, "demo", &key, &batch).await.unwrap(),
            _ => openssh_sftp_by_password(port, "demo", &password, &batch).await.unwrap(),
        };
        assert!(ok, "{folder}: {out}\n{errors}\n{}", lab.log_tails());
        assert_eq!(std::fs::read(&back).unwrap(), content, "{folder}");
        // Each command is repeated on a line that begins with the prompt.
        let (mut told, mut left) = (Vec::new(), Vec::new());
        let mut last = "";
        for line in out.lines() {
            match line.strip_prefix("sftp> ") {
                Some(command) => last = command,
                None if last == "ls" => left.push(line.trim()),
                None => told.push((last, line)),
            }
        }
        let shown = |command: &str, text: &str| told.iter().any(|(last, line)| *last == command && line.contains(text));
        assert!(shown(&format!("ls -l {folder}"), "3000000") && shown(&format!("ls -l {folder}"), "a.bin"), "{out}");
        assert!(shown(&format!("ls {folder}"), "b.bin") && !shown(&format!("ls {folder}"), "a.bin"), "{out}");
        assert!(!left.contains(&folder.as_str()), "{folder} is still there: {out}");
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
async fn openssh_shows_why_a_second_session_is_refused_and_who_is_in_the_way() {
    let lab = Lab::start(3).await.unwrap();
    let (ok, text) = lab.cli(2, &["user", "update", "demo", "--max-sessions", "1"]).await.unwrap();
    assert!(ok, "{text}");
    let (key, password) = (lab.folder().join("demo.key"), lab.demo_password().unwrap());
    let first = Held::login("127.0.0.8", lab.sftp_port(1), "demo", &key).await.unwrap();
    let by_key = openssh_sftp(lab.sftp_port(2), "demo", &key, "pwd\n").await.unwrap();
    let by_password = openssh_sftp_by_password(lab.sftp_port(3), "demo", &password, "pwd\n").await.unwrap();
    for (by, (ok, out, errors)) in [("key", by_key), ("password", by_password)] {
        assert!(!ok, "by {by}: {out}{errors}");
        for part in ["1 of 1 sessions", "on node1", "from 127.0.0.8:"] {
            assert!(errors.contains(part), "by {by}, {part:?} is not in: {errors}");
        }
    }
    assert!(first.leave().await.unwrap());
    let (ok, out, errors) = openssh_sftp(lab.sftp_port(3), "demo", &key, "pwd\n").await.unwrap();
    assert!(ok, "the slot was freed at once: {out}{errors}\n{}", lab.log_tails());
}

/// What `make dev` printed until `ready`, and its process group, which gets Ctrl-C when dropped.
struct Dev {
    lines: Vec<String>,
    make: tokio::process::Child,
    // Read by nobody, but open: a closed pipe would end what prints to it.
    _output: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Dev {
    /// In `folder`, with a `cargo` that builds nothing: where it would have put the program lies the one under test.
    async fn make(folder: &Path, offset: u16) -> Dev {
        use std::os::unix::fs::PermissionsExt;
        let target = folder.join("target");
        std::fs::create_dir_all(target.join("release")).unwrap();
        std::os::unix::fs::symlink(binary().unwrap(), target.join("release/flotilla")).unwrap();
        let cargo = folder.join("cargo");
        let script = format!(
            "#!/bin/sh\ncase \"$1\" in build) ;; metadata) echo '{{\"target_directory\":\"{}\"}}' ;; *) exit 1 ;; esac\n",
            target.display()
        );
        std::fs::write(&cargo, script).unwrap();
        std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut make = Command::new("make")
            .arg("-f")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Makefile"))
            .args(["dev", &format!("CARGO={}", cargo.display()), &format!("ARGS=--port-offset {offset}")])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut output = BufReader::new(make.stdout.take().unwrap()).lines();
        let mut lines = Vec::new();
        let until_ready = async {
            while let Some(line) = output.next_line().await.unwrap() {
                if line == "ready" {
                    return true;
                }
                lines.push(line);
            }
            false
        };
        let ready = tokio::time::timeout(Duration::from_secs(60), until_ready).await;
        let dev = Dev { lines, make, _output: output };
        assert!(ready.is_ok_and(|ready| ready), "never ready: {:#?}", dev.lines);
        dev
    }

    /// What stands behind a word at the beginning of a line.
    fn printed(&self, word: &str) -> &str {
        let found = self.lines.iter().find_map(|line| line.strip_prefix(word));
        found.unwrap_or_else(|| panic!("{word:?} is not printed: {:#?}", self.lines)).trim()
    }

    /// Ctrl-C.
    fn interrupt(&self) {
        if let Some(group) = self.make.id().and_then(|id| Pid::from_raw(id as i32)) {
            let _ = rustix::process::kill_process_group(group, Signal::INT);
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.interrupt();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readmes_first_command_makes_three_nodes_and_what_it_prints_works() {
    let folder = tempfile::tempdir().unwrap();
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let first = readme.lines().find(|line| line.starts_with("    ")).unwrap();
    assert_eq!(first.split('#').next().unwrap().trim(), "make dev");
    let ports = Ports::claim().unwrap();
    let mut dev = Dev::make(folder.path(), ports.offset).await;

    // The command that is printed, as it is printed; only that nobody is asked about the host key.
    let connect = dev.printed("connect:").split("   (").next().unwrap();
    let quiet = "-b - -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes";
    let script = format!("echo 'mkdir made' | {}", connect.replacen("sftp ", &format!("sftp {quiet} "), 1));
    let done = Command::new("sh").args(["-c", &script]).output().await.unwrap();
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    let files = PathBuf::from(dev.printed("files:"));
    assert!(files.join("made").is_dir(), "{}", files.display());
    let password = std::fs::read_to_string(dev.printed("password:")).unwrap();
    for node in 1..=3 {
        let by_password = openssh_sftp_by_password(2021 + ports.offset + node, "demo", password.trim(), "ls\n");
        let (ok, out, errors) = by_password.await.unwrap();
        assert!(ok && out.contains("made"), "node {node}: {out}{errors}");
    }
    let path = format!("{}:{}", folder.path().join("target/release").display(), std::env::var("PATH").unwrap());
    let admin = Command::new("sh").args(["-c", dev.printed("admin:")]).env("PATH", path).output().await.unwrap();
    assert!(admin.status.success() && String::from_utf8_lossy(&admin.stdout).contains("demo"), "{admin:?}");

    let started =
        dev.lines.iter().filter_map(|line| line.strip_prefix("node ")?.split_once(" pid ")).collect::<Vec<_>>();
    assert_eq!(started.len(), 3, "{:#?}", dev.lines);
    let pids: Vec<String> = started.iter().map(|(_, rest)| rest.split(' ').next().unwrap().to_owned()).collect();
    dev.interrupt();
    let ended = tokio::time::timeout(Duration::from_secs(30), dev.make.wait()).await;
    assert!(ended.is_ok(), "Ctrl-C does not end it");
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "node with pid {pid} is left");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_started_again_goes_on_with_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let ports = Ports::claim().unwrap();
    let offset = ports.offset;
    let mut secrets = Vec::new();
    for run in 0..2 {
        let mut dev = Command::new(binary().unwrap())
            .args(["dev", "--nodes", "1", "--port-offset", &offset.to_string(), "--dir"])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(dev.stdout.take().unwrap()).lines();
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if line == "ready" {
                    return true;
                }
            }
            false
        };
        assert!(tokio::time::timeout(Duration::from_secs(60), ready).await.unwrap(), "run {run}");
        let key = folder.path().join("demo.key");
        let batch = if run == 0 { "mkdir kept\n" } else { "ls -l kept\nrmdir kept\n" };
        let (ok, _, errors) = openssh_sftp(2022 + offset, "demo", &key, batch).await.unwrap();
        assert!(ok, "run {run}: {errors}");
        secrets.push(std::fs::read(folder.path().join("admin.token")).unwrap());
        let pid = Pid::from_raw(dev.id().unwrap() as i32).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(10), dev.wait()).await.is_ok());
    }
    assert_eq!(secrets[0], secrets[1]);
}
