//! The verbs against a real listener over an in-memory cluster.

use std::sync::Arc;

use clap::Parser;
use flotilla_api::{ApiServer, Config, Readiness, Service};
use flotilla_cluster::LocalCluster;
use flotilla_model::command::PutToken;
use flotilla_model::{Command, StorageName};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::output::{Data, Format};
use super::{AdminCommand, Globals, Output, execute, failure};

struct Ready;

impl Readiness for Ready {
    fn reasons(&self) -> Vec<String> {
        Vec::new()
    }
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: AdminCommand,
}

struct Node {
    endpoint: String,
    folder: tempfile::TempDir,
    stop: CancellationToken,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Node {
    async fn start() -> Node {
        let cluster = LocalCluster::start();
        let token = PutToken {
            name: crate::bootstrap::FIRST_TOKEN.into(),
            hash: Sha256::digest(b"secret").into(),
            permissions: vec!["*".into()],
            expires_at: 0,
            replace: false,
        };
        cluster.apply(Command::PutToken(token)).reply.expect("the first token");
        let storages = vec![(StorageName::parse("files").expect("a name"), "/srv/files".into())];
        let service = Arc::new(Service::new(cluster, storages));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            tls: None,
            health: None,
            local: Some(folder.path().join("admin.sock")),
        };
        let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle();
        let server = ApiServer::bind(config, service, Arc::new(Ready), metrics).await.expect("a free port");
        let endpoint = format!("http://{}", server.address().expect("bound"));
        std::fs::write(folder.path().join("token"), "secret\n").expect("the token file");
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        Node { endpoint, folder, stop }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    async fn run(&self, words: &[&str]) -> Result<Output, failure::Failure> {
        let token = self.folder.path().join("token").display().to_string();
        let globals = ["flotilla", "--endpoint", &self.endpoint, "--token-file", &token];
        let line = Line::try_parse_from(globals.iter().chain(words)).expect("a line that clap takes");
        execute(line.command, line.globals).await
    }

    async fn code(&self, words: &[&str]) -> u8 {
        self.run(words).await.expect_err("a failure").code()
    }
}

fn value(output: &Output) -> Value {
    serde_json::from_str(&output.data.text(Format::Json)).expect("JSON")
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ demo";

#[tokio::test]
async fn a_user_is_added_shown_changed_and_removed() {
    let node = Node::start().await;
    let password = node.file("password", "correct horse\n");
    let words = ["user", "add", "alice", "--password-file", &password, "--quota-size", "10MiB", "--max-sessions", "1"];
    let made = value(&node.run(&words).await.expect("made"));
    assert_eq!(made["quota_size"], 10 << 20);
    assert_eq!(made["home_dir"], "/srv/files/alice");

    let shown = value(&node.run(&["user", "show", "alice"]).await.expect("shown"));
    assert_eq!(shown["permissions"]["/"][0], "*");
    assert_eq!(shown["has_password"], true);

    node.run(&["user", "update", "alice", "--disable", "--permission", "/=list,download"]).await.expect("changed");
    let shown = value(&node.run(&["user", "show", "alice"]).await.expect("shown"));
    assert_eq!(shown["status"], 0);
    assert_eq!(shown["permissions"]["/"], serde_json::json!(["list", "download"]));
    assert_eq!(shown["max_sessions"], 1, "what was not named stays");

    let listed = node.run(&["user", "list"]).await.expect("listed");
    assert!(listed.data.text(Format::Table).contains("alice"));
    node.run(&["user", "remove", "alice"]).await.expect("removed");
    assert_eq!(node.code(&["user", "show", "alice"]).await, failure::NOT_FOUND);
}

#[tokio::test]
async fn exit_codes_tell_usage_missing_and_conflict_apart() {
    let node = Node::start().await;
    let key = node.file("key.pub", KEY);
    let add = ["user", "add", "bob", "--no-password", "--key-file", &key];
    node.run(&add).await.expect("made");
    assert_eq!(node.code(&add).await, failure::CONFLICT);
    assert_eq!(node.code(&["user", "update", "bob", "--disable", "--expected-revision", "1"]).await, failure::CONFLICT);
    assert_eq!(node.code(&["user", "update", "bob"]).await, failure::USAGE);
    assert_eq!(node.code(&["user", "update", "bob", "--home-dir", "/elsewhere"]).await, failure::USAGE);
    assert_eq!(node.code(&["user", "remove", "nobody"]).await, failure::NOT_FOUND);
    assert_eq!(node.code(&["session", "kill", "1-2-3"]).await, failure::NOT_FOUND);
}

#[tokio::test]
async fn waiting_ends_with_a_code_that_says_how() {
    let node = Node::start().await;
    let there = node.run(&["cluster", "wait", "1"]).await.expect("the node is there");
    assert_eq!(there.notes, ["node 1 is a voter"]);
    assert_eq!(node.code(&["cluster", "wait", "9"]).await, failure::NOT_FOUND);
    assert_eq!(node.code(&["quota", "scan", "nobody", "--wait"]).await, failure::NOT_FOUND);
    assert_eq!(node.code(&["cluster", "drain", "9", "--wait"]).await, failure::NOT_FOUND);
}

#[tokio::test]
async fn keys_are_added_and_removed_by_fingerprint() {
    let node = Node::start().await;
    let password = node.file("password", "x");
    let key = node.file("key.pub", KEY);
    node.run(&["user", "add", "carol", "--password-file", &password]).await.expect("made");
    node.run(&["user", "key", "add", "carol", &key]).await.expect("added");
    let keys = value(&node.run(&["user", "key", "list", "carol"]).await.expect("listed"));
    let fingerprint = keys[0]["fingerprint"].as_str().expect("a fingerprint").to_owned();
    assert!(fingerprint.starts_with("SHA256:"), "{fingerprint}");
    node.run(&["user", "key", "remove", "carol", &fingerprint]).await.expect("removed");
    let keys = value(&node.run(&["user", "key", "list", "carol"]).await.expect("listed"));
    assert_eq!(keys, serde_json::json!([]));
}

#[tokio::test]
async fn a_token_works_until_it_is_deleted() {
    let node = Node::start().await;
    let out = node.folder.path().join("viewer").display().to_string();
    let create = ["token", "create", "viewer", "--permission", "view_users", "--out", &out];
    node.run(&create).await.expect("made");
    let with_viewer = |words: Vec<&str>| {
        let mut line = vec!["--token-file".to_owned(), out.clone()];
        line.extend(words.into_iter().map(str::to_owned));
        line
    };
    let run = async |words: Vec<&str>| {
        let line =
            [vec!["flotilla".to_owned(), "--endpoint".to_owned(), node.endpoint.clone()], with_viewer(words)].concat();
        let line = Line::try_parse_from(line).expect("a line that clap takes");
        execute(line.command, line.globals).await
    };
    run(vec!["user", "list"]).await.expect("it may view users");
    assert_eq!(run(vec!["session", "list"]).await.expect_err("no permission").code(), 1);
    node.run(&["token", "delete", "viewer"]).await.expect("deleted");
    assert_eq!(run(vec!["user", "list"]).await.expect_err("revoked").code(), 1);
}

#[tokio::test]
async fn quota_status_and_ping_answer() {
    let node = Node::start().await;
    let password = node.file("password", "x");
    node.run(&["user", "add", "dave", "--password-file", &password]).await.expect("made");
    node.run(&["quota", "set", "dave", "--size", "1GiB", "--files", "5"]).await.expect("set");
    let quota = value(&node.run(&["quota", "show", "dave"]).await.expect("shown"));
    assert_eq!((quota["quota_size"].as_u64(), quota["quota_files"].as_u64()), (Some(1 << 30), Some(5)));
    let status = value(&node.run(&["cluster", "status"]).await.expect("status"));
    assert_eq!(status["nodes"][0]["role"], "leader");
    assert_eq!(value(&node.run(&["ping"]).await.expect("pong"))["node"], 1);
    let sessions = node.run(&["session", "list"]).await.expect("listed");
    assert_eq!(value(&sessions), serde_json::json!([]));
}

#[tokio::test]
async fn an_unreachable_node_is_skipped_for_the_next() {
    let node = Node::start().await;
    let token = node.folder.path().join("token").display().to_string();
    let both = format!("http://127.0.0.1:1,{}", node.endpoint);
    let line = ["flotilla", "--endpoint", &both, "--token-file", &token, "ping"];
    let line = Line::try_parse_from(line).expect("a line that clap takes");
    execute(line.command, line.globals).await.expect("the second answers");
}

#[tokio::test]
async fn an_admin_is_added_shown_changed_and_removed() {
    let node = Node::start().await;
    let password = node.file("password", "correct horse\n");
    let add =
        ["admin", "add", "ann", "--permission", "view_users", "--password-file", &password, "--allow", "10.0.0.0/8"];
    let made = value(&node.run(&add).await.expect("made"));
    assert_eq!((made["has_password"].as_bool(), made["permissions"][0].as_str()), (Some(true), Some("view_users")));
    assert_eq!(node.code(&add).await, failure::CONFLICT);
    let changed = ["admin", "update", "ann", "--permission", "*", "--email", "a@example.org", "--disable"];
    node.run(&changed).await.expect("changed");
    let shown = value(&node.run(&["admin", "show", "ann"]).await.expect("shown"));
    assert_eq!((shown["status"].as_u64(), shown["email"].as_str()), (Some(0), Some("a@example.org")));
    assert_eq!(shown["filters"]["allow_list"][0], "10.0.0.0/8", "what was not named stays");
    node.run(&["admin", "passwd", "ann", "--password-file", &password]).await.expect("changed");
    assert!(node.run(&["admin", "list"]).await.expect("listed").data.text(Format::Table).contains("ann"));
    assert_eq!(node.code(&["admin", "update", "ann"]).await, failure::USAGE);
    assert_eq!(node.code(&["admin", "add", "bob", "--no-password"]).await, failure::USAGE, "no permission");
    node.run(&["admin", "remove", "ann"]).await.expect("removed");
    assert_eq!(node.code(&["admin", "show", "ann"]).await, failure::NOT_FOUND);
}

#[tokio::test]
async fn groups_folders_and_roles_are_kept_by_name() {
    let node = Node::start().await;
    node.run(&["folder", "add", "f", "--mapped-path", "/srv/f"]).await.expect("made");
    node.run(&["group", "add", "g", "--mount", "f=/shared", "--max-sessions", "2"]).await.expect("made");
    node.run(&["group", "update", "g", "--description", "all"]).await.expect("changed");
    let group = value(&node.run(&["group", "show", "g"]).await.expect("shown"));
    assert_eq!(group["user_settings"]["max_sessions"], 2, "what was not named stays");
    assert_eq!(
        (&group["virtual_folders"][0]["virtual_path"], &group["description"]),
        (&"/shared".into(), &"all".into())
    );
    assert_eq!(node.code(&["folder", "remove", "f"]).await, failure::CONFLICT);
    assert_eq!(node.code(&["group", "update", "g", "--mount", "f"]).await, failure::USAGE);
    node.run(&["group", "remove", "g"]).await.expect("removed");
    node.run(&["folder", "remove", "f"]).await.expect("removed");
    node.run(&["role", "add", "east", "--description", "d"]).await.expect("made");
    assert!(node.run(&["role", "list"]).await.expect("listed").data.text(Format::Yaml).contains("east"));
}

#[tokio::test]
async fn an_api_key_is_shown_once_and_revoked() {
    let node = Node::start().await;
    let Data::Line(key) = node.run(&["api-key", "add", "ci"]).await.expect("made").data else { panic!("the key") };
    assert!(key.starts_with("ci.") && key.len() > 40, "{key}");
    let listed = node.run(&["api-key", "list"]).await.expect("listed").data.text(Format::Json);
    assert!(listed.contains("\"ci\"") && !listed.contains(&key[3..]));
    node.run(&["api-key", "remove", "ci"]).await.expect("revoked");
    assert_eq!(node.code(&["api-key", "remove", "ci"]).await, failure::NOT_FOUND);
}

#[tokio::test]
async fn events_say_who_changed_what() {
    let node = Node::start().await;
    node.run(&["role", "add", "east", "--description", "first"]).await.expect("made");
    node.run(&["role", "update", "east", "--description", "second"]).await.expect("changed");
    let events = value(&node.run(&["events"]).await.expect("listed"));
    let last = events.as_array().expect("a list").last().expect("an event").clone();
    assert_eq!((&last["kind"], &last["object"]), (&"role_updated".into(), &"role east".into()));
    assert_eq!(last["changes"][0], "description: \"first\" -> \"second\"");
    assert_eq!(last["actor"], "admin token admin");
    assert!(last["source"].as_str().expect("an address").starts_with("127.0.0.1:"), "{last}");
    let token = last["resume_token"].as_str().expect("a token");
    assert_eq!(value(&node.run(&["events", "--resume", token]).await.expect("none")), serde_json::json!([]));
    assert_eq!(node.code(&["events", "--resume", "x"]).await, failure::USAGE);
}

#[tokio::test]
async fn a_lost_token_is_made_anew_through_the_data_folder() {
    // Without a name it is the first token that is made anew: the one that `init` and `dev` made.
    for name in [&["--name", "admin"][..], &[]] {
        let node = Node::start().await;
        let data = node.folder.path().display().to_string();
        let reset = [&["token", "reset", "--data", &data], name].concat();
        let Data::Line(token) = node.run(&reset).await.expect("made anew").data else { panic!("the token") };
        assert_ne!(node.code(&["user", "list"]).await, 0, "the old one is refused");
        node.file("token", &token);
        node.run(&["user", "list"]).await.expect("the new one is taken");
        let events = value(&node.run(&["events"]).await.expect("listed"));
        let last = events.as_array().expect("a list").last().expect("an event").clone();
        assert!(last["actor"].as_str().expect("who").starts_with("uid "), "{last}");
        assert_ne!(node.code(&["token", "reset", "--data", "/nowhere"]).await, 0);
    }
}

#[tokio::test]
async fn a_reset_into_a_file_that_exists_changes_nothing() {
    let node = Node::start().await;
    let data = node.folder.path().display().to_string();
    let there = node.file("there", "kept");
    assert_eq!(node.code(&["token", "reset", "--data", &data, "--out", &there]).await, failure::USAGE);
    node.run(&["user", "list"]).await.expect("the old token is still taken");
    assert_eq!(std::fs::read_to_string(&there).expect("the file"), "kept");
    let out = node.folder.path().join("new").display().to_string();
    node.run(&["token", "reset", "--data", &data, "--out", &out]).await.expect("made anew");
    assert_ne!(node.code(&["user", "list"]).await, 0, "the old one is refused");
}

#[tokio::test]
async fn a_request_id_is_refused_where_a_secret_is_made() {
    let node = Node::start().await;
    let data = node.folder.path().display().to_string();
    let id = uuid::Uuid::now_v7().to_string();
    let verbs: [&[&str]; 4] = [
        &["token", "create", "t"],
        &["token", "reset", "--data", &data],
        &["api-key", "add", "k"],
        &["cluster", "token"],
    ];
    for verb in verbs {
        let refused = node.run(&[verb, &["--request-id", &id]].concat()).await.expect_err("refused");
        assert_eq!(refused.code(), failure::USAGE, "{verb:?}");
        assert!(refused.to_string().contains("anew, without --request-id"), "{refused}");
    }
    node.run(&["role", "add", "east", "--request-id", &id]).await.expect("others take it");
    node.run(&["role", "add", "east", "--request-id", &id]).await.expect("and do nothing twice");
}

#[tokio::test]
async fn only_a_node_that_takes_no_connection_is_taken_to_have_ended() {
    let node = Node::start().await;
    let token = node.file("wrong", "wrong");
    let line = ["flotilla", "--endpoint", &node.endpoint, "--token-file", &token, "ping"];
    let globals = Line::try_parse_from(line).expect("a line that clap takes").globals;
    let client = super::connect::Client::connect(&globals).await.expect("connected");
    let ask = async || {
        let answer = client.cluster().get_status(flotilla_proto::admin::v1::GetStatusRequest {}).await;
        answer.expect_err("no answer")
    };
    let refused = ask().await;
    assert!(!super::cluster::nobody_listens(&refused), "{refused:?}");
    node.stop.cancel();
    let ended = async { while !super::cluster::nobody_listens(&ask().await) {} };
    tokio::time::timeout(std::time::Duration::from_secs(30), ended).await.expect("its listener is gone");
}
