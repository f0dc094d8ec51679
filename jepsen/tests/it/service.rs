//! A node as a service: what systemd is told, what a reload changes, TLS for administration.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use flotilla_jepsen::lab::{Lab, binary};
use flotilla_jepsen::rest::Rest;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// A node of a lab whose process is ours, with a socket in systemd's place.
struct Service {
    process: Child,
    told: UnixDatagram,
    config: PathBuf,
}

impl Service {
    /// Takes over the one node of a lab.
    async fn take_over(lab: &mut Lab) -> Service {
        lab.kill(1).unwrap();
        let gone = PathBuf::from(format!("/proc/{}", lab.pid(1)));
        lab.until(Duration::from_secs(10), "the killed process is gone", async || Ok(!gone.exists())).await.unwrap();
        let socket = lab.folder().join("notify.sock");
        let told = UnixDatagram::bind(&socket).unwrap();
        told.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let config = lab.folder().join("node1/flotilla.toml");
        let process = Command::new(binary().unwrap())
            .args(["serve", "--config"])
            .arg(&config)
            .env("NOTIFY_SOCKET", &socket)
            .env("WATCHDOG_USEC", "3000000")
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(lab.folder().join("service.log")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Service { process, told, config }
    }

    /// Reads what is told until a line comes; returns all lines before it.
    fn until(&self, line: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let length = self.told.recv(&mut buffer).unwrap_or_else(|error| panic!("{line}: {error}; {lines:?}"));
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            lines.extend(text.lines().map(str::to_owned));
            if lines.iter().any(|told| told == line) {
                return lines;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.id().unwrap() as i32).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn change(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(&self.config).unwrap();
        assert!(text.contains(from), "{from} in {text}");
        std::fs::write(&self.config, text.replace(from, to)).unwrap();
    }
}

/// The last line of a node's log that has this sender.
fn last_line(lab: &Lab, log: &Path, sender: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let found = lines.rfind(|line| line["sender"] == sender);
    found.unwrap_or_else(|| panic!("no line of {sender}\n{}", lab.log_tails()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_hears_of_start_life_reload_and_stop_and_a_reload_names_what_it_cannot_do() {
    let mut lab = Lab::start(1).await.unwrap();
    let mut service = Service::take_over(&mut lab).await;
    service.until("READY=1");
    service.until("WATCHDOG=1");
    service.until("WATCHDOG=1");

    let log = lab.folder().join("node1/node.log");
    let rotated = lab.folder().join("node1/node.log.1");
    std::fs::rename(&log, &rotated).unwrap();
    service.change("max_connections = 10000", "max_connections = 77");
    service.change("durability = \"close\"", "durability = \"none\"");
    service.signal(Signal::HUP);
    let told = [service.until("RELOADING=1"), service.until("READY=1")].concat();
    assert!(told.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{told:?}");
    let line = last_line(&lab, &log, "config");
    assert_eq!(line["message"], "reloaded", "{line}");
    assert_eq!(line["applied"], "sftp.max_connections", "{line}");
    assert_eq!(line["needs_restart"], "sftp.durability", "{line}");

    // A mistake changes nothing and is named.
    service.change("max_connections = 77", "max_connections = 0");
    service.signal(Signal::HUP);
    service.until("RELOADING=1");
    service.until("READY=1");
    let line = last_line(&lab, &log, "config");
    assert!(line["error"].as_str().unwrap().contains("sftp.max_connections: 0 admits nobody"), "{line}");
    let ready = Rest::new(lab.admin_port(1), None).get("/readyz").await.unwrap();
    assert_eq!(ready.0, 200, "{ready:?}");

    service.signal(Signal::TERM);
    let told = service.until("STOPPING=1");
    // The demonstration's 4 s for transfers, and 30 for the rest.
    assert!(told.iter().any(|line| line == "EXTEND_TIMEOUT_USEC=34000000"), "{told:?}");
    let status = tokio::time::timeout(Duration::from_secs(60), service.process.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloaded_limits_and_proxies_hold_for_the_next_connection() {
    let mut lab = Lab::start(1).await.unwrap();
    lab.user("reload", 0, 0, 0).await.unwrap();
    let service = Service::take_over(&mut lab).await;
    service.until("READY=1");
    let held = flotilla_jepsen::client::Sftp::login(lab.sftp_port(1), "reload").await.unwrap().unwrap();
    service.change("max_connections = 10000", "max_connections = 1");
    service.signal(Signal::HUP);
    service.until("RELOADING=1");
    service.until("READY=1");
    let refused = flotilla_jepsen::client::Sftp::login(lab.sftp_port(1), "reload").await.unwrap();
    assert!(refused.is_err(), "a second connection is over the new bound");
    held.raw.stat("/").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_over_tls_is_reached_with_the_clusters_ca_and_by_nothing_else() {
    let mut lab = Lab::start(1).await.unwrap();
    let extra = lab.folder().join("node1/conf.d");
    std::fs::create_dir_all(&extra).unwrap();
    std::fs::write(extra.join("tls.toml"), "[admin.tls]\n").unwrap();
    let service = Service::take_over(&mut lab).await;
    service.until("READY=1");
    let ask = async |arguments: &[&str]| {
        let output = Command::new(binary().unwrap())
            .env("FLOTILLA_ENDPOINT", format!("https://127.0.0.1:{}", lab.admin_port(1)))
            .arg("--token-file")
            .arg(lab.folder().join("admin.token"))
            .args(arguments)
            .output()
            .await
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let ca = lab.folder().join("node1/data/identity/ca.pem");
    let (ok, text) = ask(&["--ca-file", ca.to_str().unwrap(), "user", "list"]).await;
    assert!(ok && text.contains("demo"), "{text}");
    let (ok, text) = ask(&["user", "list"]).await;
    assert!(!ok && text.contains("--ca-file"), "{text}");
    let (ok, text) = ask(&["--ca-file", "/etc/ssl/certs/ca-certificates.crt", "user", "list"]).await;
    assert!(!ok, "another CA: {text}");
    let plain = Rest::new(lab.admin_port(1), None).get("/livez").await;
    assert!(plain.is_err(), "{plain:?}");
}
