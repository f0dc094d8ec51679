//! How far long operations are: told at once, at each change, and to the end.

use axum::http::{Method, StatusCode};
use flotilla_model::command::{DeleteToken, PutNode, RegisterNode};
use flotilla_model::{Command, Epoch, NodeId};
use flotilla_proto::admin::v1;
use serde_json::json;
use tonic::Code;

use crate::fixture::Server;

impl Server {
    async fn watch_node(&self, node: u64, goal: v1::NodeGoal) -> Result<tonic::Streaming<v1::Progress>, tonic::Status> {
        let request = v1::WatchNodeRequest { node, goal: goal.into() };
        self.status().watch_node(request).await.map(tonic::Response::into_inner)
    }
}

async fn next(told: &mut tonic::Streaming<v1::Progress>) -> v1::Progress {
    told.message().await.expect("no error").expect("a message")
}

#[tokio::test]
async fn a_node_that_is_there_is_told_at_once_and_an_unknown_one_is_not_found() {
    let server = Server::start().await;
    let mut told = server.watch_node(1, v1::NodeGoal::Unspecified).await.expect("a stream");
    let progress = next(&mut told).await;
    assert!(progress.ended && progress.done == progress.total, "{progress:?}");
    assert_eq!((progress.stage.as_str(), progress.unit.as_str()), ("a voter", "log entries"));
    assert!(told.message().await.expect("no error").is_none(), "it has ended");
    let missing = server.watch_node(9, v1::NodeGoal::Gone).await.expect_err("no such node");
    assert_eq!(missing.code(), Code::NotFound);
}

#[tokio::test]
async fn the_sessions_of_a_node_that_goes_are_counted_down() {
    let server = Server::start().await;
    server.add("alice").await;
    let (first, _second) = (server.log_in("alice"), server.log_in("alice"));
    let mut told = server.watch_node(1, v1::NodeGoal::Gone).await.expect("a stream");
    let progress = next(&mut told).await;
    assert_eq!((progress.stage.as_str(), progress.done, progress.total), ("sessions end", 0, 2), "{progress:?}");
    server.close(first);
    let progress = next(&mut told).await;
    assert_eq!((progress.done, progress.total, progress.ended), (1, 2, false), "{progress:?}");
}

#[tokio::test]
async fn a_scan_is_told_until_it_has_ended_or_its_user_is_gone() {
    let server = Server::start().await;
    server.add("frank").await;
    server.log_in("frank");
    let request = v1::ScanQuotaRequest { username: "frank".into(), ..Default::default() };
    let asked = server.quotas().scan_quota(request).await.expect("asked").into_inner().result.expect("a result");
    let request = v1::WatchScanRequest { username: "frank".into(), after_log_index: asked.log_index };
    let mut told = server.quotas().watch_scan(request.clone()).await.expect("a stream").into_inner();
    let progress = next(&mut told).await;
    assert_eq!((progress.stage.as_str(), progress.done, progress.ended), ("waiting", 0, false), "{progress:?}");
    let delete = v1::DeleteUserRequest { username: "frank".into(), ..Default::default() };
    server.users().delete_user(delete).await.expect("deleted");
    assert_eq!(told.message().await.expect_err("the user is gone").code(), Code::NotFound);
    assert_eq!(server.quotas().watch_scan(request).await.expect_err("gone").code(), Code::NotFound);
}

#[tokio::test]
async fn a_load_is_told_by_its_request_id_and_another_is_not_found() {
    let server = Server::start().await;
    let id = uuid::Uuid::now_v7().to_string();
    let roles: Vec<_> = (0..40).map(|n| json!({"name": format!("role{n}")})).collect();
    let body = json!({"version": 17, "roles": roles}).to_string();
    let loaded = server.call(Method::POST, "/loaddata", &[("flotilla-request-id", id.as_str())], body).await;
    assert_eq!(loaded.status, StatusCode::OK, "{}", loaded.text);
    let watch = async |request_id: String| server.backups().watch_load(v1::WatchLoadRequest { request_id }).await;
    let progress = next(&mut watch(id).await.expect("a stream").into_inner()).await;
    assert_eq!((progress.done, progress.total, progress.ended), (40, 40, true), "{progress:?}");
    let other = uuid::Uuid::now_v7().to_string();
    assert_eq!(watch(other).await.expect_err("unknown").code(), Code::NotFound);
    assert_eq!(watch(String::new()).await.expect_err("none").code(), Code::InvalidArgument);

    let id = uuid::Uuid::now_v7().to_string();
    let body = json!({"roles": [{"name": "fine"}, {"name": "a/b"}]}).to_string();
    let refused = server.call(Method::POST, "/loaddata", &[("flotilla-request-id", id.as_str())], body).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let progress = next(&mut watch(id).await.expect("a stream").into_inner()).await;
    assert_eq!((progress.stage.as_str(), progress.done), ("ended before all was loaded", 0), "{progress:?}");
}

#[tokio::test]
async fn a_watcher_whose_token_is_revoked_is_told_no_more() {
    let server = Server::start().await;
    server.add("alice").await;
    server.log_in("alice");
    let mut told = server.watch_node(1, v1::NodeGoal::Gone).await.expect("a stream");
    assert!(!next(&mut told).await.ended);
    let gone = Command::DeleteToken(DeleteToken { name: "root".into(), expected_revision: None });
    server.cluster.local.apply(gone).reply.expect("deleted");
    assert_eq!(told.message().await.expect_err("revoked").code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_scan_is_not_told_to_an_admin_who_gets_another_role_meanwhile() {
    let server = Server::start().await;
    for role in ["east", "west"] {
        assert_eq!(server.send(Method::POST, "/roles", &json!({"name": role})).await.status, StatusCode::CREATED);
    }
    let admin = |role: &str| json!({"username": "ann", "permissions": ["quota_scans", "view_conns"], "role": role});
    assert_eq!(server.send(Method::POST, "/admins", &admin("east")).await.status, StatusCode::CREATED);
    let user = json!({"username": "e", "permissions": {"/": ["*"]}, "role": "east"});
    assert_eq!(server.send(Method::POST, "/users", &user).await.status, StatusCode::CREATED);
    let key = json!({"name": "k", "scope": 1, "admin": "ann"});
    let key = server.send(Method::POST, "/apikeys", &key).await.json()["key"].as_str().expect("a key").to_owned();
    let session = server.log_in("e").to_string();
    let request = v1::ScanQuotaRequest { username: "e".into(), ..Default::default() };
    server.quotas().scan_quota(request).await.expect("asked");
    fn with<T>(message: T, key: &str) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("x-sftpgo-api-key", key.parse().expect("ASCII"));
        request
    }
    let request = v1::WatchScanRequest { username: "e".into(), after_log_index: u64::MAX };
    let mut quotas = v1::quotas_client::QuotasClient::new(server.channel.clone());
    let mut scan = quotas.watch_scan(with(request, &key)).await.expect("a stream").into_inner();
    let mut clients = v1::sessions_client::SessionsClient::new(server.channel.clone());
    let request = with(v1::WatchSessionsRequest::default(), &key);
    let mut sessions = clients.watch_sessions(request).await.expect("a stream").into_inner();
    assert!(!next(&mut scan).await.ended);
    let first = sessions.message().await.expect("no error").expect("a message");
    assert_eq!(first.sessions[0].id, session);

    assert_eq!(server.send(Method::PUT, "/admins/ann", &admin("west")).await.status, StatusCode::OK);
    assert_eq!(scan.message().await.expect_err("another's user").code(), Code::NotFound);
    let gone = sessions.message().await.expect("no error").expect("a message");
    assert_eq!((gone.ended, gone.sessions.len()), (vec![session], 0));
    server.log_in("e");
    server.add("n").await;
    // Its own users are still told.
    let user = json!({"username": "w", "permissions": {"/": ["*"]}, "role": "west"});
    server.send(Method::POST, "/users", &user).await;
    let own = server.log_in("w").to_string();
    let told = sessions.message().await.expect("no error").expect("a message");
    assert_eq!(told.sessions.iter().map(|session| session.id.clone()).collect::<Vec<_>>(), [own]);
}

#[tokio::test]
async fn a_learner_beside_a_dead_one_stays_a_learner_and_one_of_two_living_ones_does_not() {
    let server = Server::start().await;
    let member = |node: u64| {
        server.cluster.local.apply(Command::PutNode(PutNode {
            public_key: Vec::new(),
            node: NodeId(node),
            name: format!("node{node}"),
            peer_address: format!("192.0.2.{node}:8082"),
            admin_address: String::new(),
            sftp_address: String::new(),
        }));
    };
    let start = |node: u64| {
        let register = RegisterNode {
            store: node.into(),
            nonce: 1,
            node: NodeId(node),
            start: 1,
            replaces: Epoch(0),
            version: "v".into(),
        };
        server.cluster.local.apply(Command::RegisterNode(register)).reply.expect("registered");
    };
    *server.cluster.members.lock().expect("no panic") = Some((vec![NodeId(1)], vec![NodeId(2), NodeId(3)]));
    (2..4).for_each(member);
    start(2);
    let mut told = server.watch_node(2, v1::NodeGoal::Unspecified).await.expect("a stream");
    let progress = next(&mut told).await;
    assert!(progress.ended && progress.stage.starts_with("a learner"), "{progress:?}");
    start(3);
    let mut told = server.watch_node(2, v1::NodeGoal::Unspecified).await.expect("a stream");
    let progress = next(&mut told).await;
    assert!(!progress.ended && progress.stage == "becoming a voter", "{progress:?}");
}
