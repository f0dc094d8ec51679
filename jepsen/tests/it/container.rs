//! The container's entrypoint with the configuration that the image has, outside a container: the first start makes a node, a later
//! one only serves, and the process that is told to stop is the node itself.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use flotilla_jepsen::fleet::Fleet;
use flotilla_jepsen::lab::binary;
use flotilla_jepsen::rest::Rest;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(60);

/// One machine of a fleet as a container would be.
struct Container<'a> {
    fleet: &'a Fleet,
    machine: usize,
}

impl Container<'_> {
    fn data(&self) -> PathBuf {
        self.fleet.data(self.machine)
    }
    fn token_file(&self) -> PathBuf {
        self.fleet.folder().join(format!("join{}", self.machine))
    }
    fn log(&self) -> PathBuf {
        self.data().with_file_name("log")
    }
    fn health(&self) -> u16 {
        self.fleet.admin_port(self.machine) + 1
    }

    /// The image's configuration on this machine's ports and folders.
    fn configured(&self) -> PathBuf {
        let deploy = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/docker/flotilla.toml");
        let mut text = std::fs::read_to_string(deploy).unwrap();
        let (fleet, machine) = (self.fleet, self.machine);
        for (from, to) in [
            ("0.0.0.0:8082", fleet.peer_address(machine)),
            ("0.0.0.0:2022", format!("127.0.0.1:{}", fleet.sftp_port(machine))),
            ("0.0.0.0:8080", format!("127.0.0.1:{}", fleet.admin_port(machine))),
            ("0.0.0.0:8081", format!("127.0.0.1:{}", self.health())),
            ("/srv/flotilla", fleet.files().display().to_string()),
        ] {
            assert!(text.contains(from), "{from} in {text}");
            text = text.replace(from, &to);
        }
        let folder = self.data().parent().unwrap().to_owned();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(fleet.config(machine), text).unwrap();
        fleet.config(machine)
    }

    fn run(&self, words: &[&str], environment: &[(&str, &str)]) -> Child {
        let config = self.configured();
        let log = std::fs::File::create(self.log()).unwrap();
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/docker/entrypoint.sh");
        Command::new("sh")
            .arg(script)
            .args(words)
            .env("FLOTILLA_PROGRAM", binary().unwrap())
            .env("FLOTILLA_CONFIG", config)
            .env("FLOTILLA_NODE__DATA", self.data())
            .env("FLOTILLA_NODE__NAME", format!("node{}", self.machine))
            .env("FLOTILLA_PEERS__ADVERTISE", self.fleet.peer_address(self.machine))
            .env("FLOTILLA_SFTP__TRUSTED_PROXIES", r#"["127.0.0.0/8"]"#)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Exit code and what was said on both streams.
    async fn ends(&self, words: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
        let status = timeout(SOON, self.run(words, environment).wait()).await.expect("it ends").unwrap();
        (status.code().unwrap(), std::fs::read_to_string(self.log()).unwrap())
    }

    async fn until_ready(&self) {
        let health = Rest::new(self.health(), None);
        let ready = async || Ok(health.get("/readyz").await.is_ok_and(|(status, _)| status == 200));
        self.fleet.until("the container is ready", ready).await.unwrap();
    }

    /// What `docker stop` does.
    async fn stopped(&self, mut process: Child) -> Option<i32> {
        kill_process(Pid::from_raw(process.id().unwrap() as i32).unwrap(), Signal::TERM).unwrap();
        timeout(SOON, process.wait()).await.expect("it ends").unwrap().code()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_makes_or_joins_a_cluster_at_its_first_start_and_only_serves_later() {
    let fleet = Fleet::new(2).await.unwrap();
    let container = |machine| Container { fleet: &fleet, machine };
    let (first, second) = (container(1), container(2));

    let (code, said) = first.ends(&["--version"], &[]).await;
    assert!(code == 0 && said.starts_with("flotilla "), "{code}: {said}");
    let (code, said) = first.ends(&["serve"], &[]).await;
    assert!(code != 0 && said.contains("FLOTILLA_JOIN_TOKEN_FILE, or FLOTILLA_FIRST=1"), "{code}: {said}");
    let token = second.token_file();
    let joins = [("FLOTILLA_JOIN_TOKEN_FILE", token.to_str().unwrap())];
    let (code, said) = second.ends(&[], &[joins[0], ("FLOTILLA_JOIN_WAIT", "1")]).await;
    assert!(code == 1 && said.contains("no join token in"), "{code}: {said}");
    assert!(!first.data().join("identity").exists() && !second.data().join("identity").exists());

    let founder = first.run(&["serve"], &[("FLOTILLA_FIRST", "1")]);
    first.until_ready().await;
    let joining = second.run(&[], &joins);
    let endpoint = format!("https://127.0.0.1:{}", fleet.admin_port(1));
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let (authority, secret) = (text(first.data().join("identity/ca.pem")), text(first.data().join("admin.token")));
    let admin = ["--endpoint", &endpoint, "--ca-file", &authority, "--token-file", &secret];
    let made = fleet.run(&[&admin[..], &["cluster", "token"]].concat()).await.unwrap().ok().unwrap();
    // Whole at once, as the compose file does it.
    std::fs::write(token.with_extension("new"), made).unwrap();
    std::fs::rename(token.with_extension("new"), &token).unwrap();
    second.until_ready().await;

    assert_eq!(second.stopped(joining).await, Some(0));
    std::fs::remove_file(&token).unwrap();
    // The token is used up and gone: the node is there, and nothing is asked of it again.
    let again = second.run(&[], &[]);
    second.until_ready().await;
    let status = fleet.run(&[&admin[..], &["cluster", "status", "-o", "json"]].concat()).await.unwrap().ok().unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["nodes"].as_array().unwrap().len(), 2, "{status}");
    assert_eq!(second.stopped(again).await, Some(0));
    assert_eq!(first.stopped(founder).await, Some(0));
}
