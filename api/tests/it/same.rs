//! gRPC and REST say the same: each verb once over either, read over the other.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use flotilla_proto::FieldMask;
use flotilla_proto::admin::v1;
use serde_json::json;

use crate::fixture::{Server, user};

#[tokio::test]
async fn a_user_made_over_grpc_reads_the_same_over_rest() {
    let server = Server::start().await;
    let wanted = v1::User {
        quota_size: u64::MAX >> 1,
        quota_files: 7,
        max_sessions: 3,
        uid: 1000,
        filters: Some(v1::Filters { denied_ip: vec!["192.0.2.0/24".into()], ..Default::default() }),
        description: "made by gRPC".into(),
        home_dir: "/srv/files/cold/a".into(),
        ..user("alice")
    };
    let request = v1::CreateUserRequest { user: Some(wanted), ..Default::default() };
    let made = server.users().create_user(request).await.expect("created").into_inner().user.expect("the record");
    let read = server.get("/users/alice").await.json();
    assert_eq!(read["quota_size"], u64::MAX >> 1, "a JSON number, not a string");
    assert_eq!(read["quota_files"], made.quota_files);
    assert_eq!(read["max_sessions"], made.max_sessions);
    assert_eq!(read["uid"], made.uid);
    assert_eq!(read["status"], 1);
    assert_eq!(read["home_dir"], made.home_dir);
    assert_eq!(read["filters"]["denied_ip"], json!(["192.0.2.0/24"]));
    assert_eq!(read["description"], made.description);
    assert_eq!(read["revision"], made.revision);
    assert_eq!(read["permissions"], json!({"/": ["*"]}));
}

#[tokio::test]
async fn a_user_made_over_rest_reads_the_same_over_grpc() {
    let server = Server::start().await;
    let body = json!({
        "username": "bob", "password": "correct horse", "permissions": {"/": ["list", "download"], "/in": ["upload"]},
        "quota_size": 10_485_760, "upload_bandwidth": 128, "expiration_date": 1_900_000_000_000u64, "status": 0,
    });
    let made = server.send(Method::POST, "/users", &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let request = v1::GetUserRequest { username: "bob".into(), consistency: 0 };
    let read = server.users().get_user(request).await.expect("read").into_inner().user.expect("the record");
    assert_eq!(read.status(), v1::UserStatus::Disabled);
    assert_eq!(read.quota_size, 10_485_760);
    assert_eq!(read.upload_bandwidth, 128);
    assert_eq!(read.expiration_date, 1_900_000_000_000);
    assert_eq!(read.permissions["/in"].names, ["upload"]);
    assert_eq!(read.home_dir, "/srv/files/bob");
    assert!(read.has_password);
    assert_eq!(made.json()["revision"], read.revision);
}

#[tokio::test]
async fn an_update_over_grpc_changes_only_what_its_mask_names() {
    let server = Server::start().await;
    server.add("carol").await;
    let request = v1::UpdateUserRequest {
        user: Some(v1::User { max_sessions: 4, quota_size: 99, ..user("carol") }),
        update_mask: Some(FieldMask { paths: vec!["max_sessions".into()] }),
        ..Default::default()
    };
    server.users().update_user(request).await.expect("updated");
    let read = server.get("/users/carol").await.json();
    assert_eq!((&read["max_sessions"], &read["quota_size"]), (&json!(4), &json!(0)));
}

#[tokio::test]
async fn what_rest_replaces_grpc_reads_and_the_password_stays_without_a_new_one() {
    let server = Server::start().await;
    let body = json!({"username": "dave", "password": "x", "permissions": {"/": ["*"]}, "email": "d@example.org"});
    server.send(Method::POST, "/users", &body).await;
    // What was read is sent back with one change, as clients do.
    let mut record = server.get("/users/dave").await.json();
    record["max_sessions"] = json!(2);
    let put = server.send(Method::PUT, "/users/dave", &record).await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.text);
    let request = v1::GetUserRequest { username: "dave".into(), consistency: 0 };
    let read = server.users().get_user(request).await.expect("read").into_inner().user.expect("the record");
    assert_eq!((read.max_sessions, read.has_password, read.email.as_str()), (2, true, "d@example.org"));
}

#[tokio::test]
async fn users_are_listed_in_pages_over_grpc_and_by_offset_over_rest() {
    let server = Server::start().await;
    for name in ["a", "b", "c", "d", "e"] {
        server.add(name).await;
    }
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListUsersRequest { page_size: 2, page_token, consistency: 0 };
        let page = server.users().list_users(request).await.expect("a page").into_inner();
        assert!(page.users.len() <= 2);
        names.extend(page.users.into_iter().map(|user| user.username));
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    let of = |answer: crate::http::Answer| -> Vec<String> {
        let rows = answer.json();
        rows.as_array().expect("a list").iter().map(|row| row["username"].as_str().expect("a name").into()).collect()
    };
    assert_eq!(of(server.get("/users").await), names);
    assert_eq!(of(server.get("/users?limit=2&offset=1").await), ["b", "c"]);
    assert_eq!(of(server.get("/users?limit=2&offset=1&order=DESC").await), ["d", "c"]);
    assert_eq!(of(server.get("/users?offset=9").await), Vec::<String>::new());
    assert_eq!(server.get("/users?order=UP").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn sessions_are_listed_and_ended_over_either() {
    let server = Server::start().await;
    server.add("erin").await;
    let (first, second) = (server.log_in("erin"), server.log_in("erin"));
    let request = v1::ListSessionsRequest { page_size: 1, ..Default::default() };
    let page = server.sessions().list_sessions(request).await.expect("listed").into_inner();
    assert_eq!((page.sessions.len(), page.next_page_token.as_str()), (1, first.to_string().as_str()));
    let request = v1::ListSessionsRequest { page_token: page.next_page_token, ..Default::default() };
    let page = server.sessions().list_sessions(request).await.expect("listed").into_inner();
    assert_eq!((page.sessions[0].id.as_str(), page.next_page_token.as_str()), (second.to_string().as_str(), ""));

    let request = v1::KillSessionRequest { id: first.to_string(), request_id: String::new() };
    server.sessions().kill_session(request).await.expect("killed");
    let deleted = server.call(Method::DELETE, &format!("/connections/{second}"), &[], Body::empty()).await;
    assert_eq!((deleted.status, &deleted.json()["message"]), (StatusCode::OK, &json!("Connection closed")));
    let page = server.sessions().list_sessions(v1::ListSessionsRequest::default()).await.expect("listed").into_inner();
    assert!(page.sessions.iter().all(|session| session.cut_reason == "Killed"), "{page:?}");
}

#[tokio::test]
async fn the_quota_and_its_scan_are_the_same_over_either() {
    let server = Server::start().await;
    server.add("frank").await;
    server.log_in("frank");
    let asked = server.call(Method::POST, "/quotas/users/frank/scan", &[], Body::empty()).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.text);
    let scans = server.quotas().list_scans(v1::ListScansRequest {}).await.expect("listed").into_inner();
    let rest = server.get("/quotas/users/scans").await.json();
    assert_eq!(scans.quotas.len(), 1);
    assert_eq!(rest[0]["username"], scans.quotas[0].username.as_str());
    assert_eq!(rest[0]["start_time"], scans.quotas[0].scan_wanted_at);
    assert_eq!((scans.quotas[0].scan_wanted_at > 0, &rest[0]["state"]), (true, &"waiting".into()));
    let forced = server.call(Method::POST, "/quotas/users/frank/scan?force=1", &[], Body::empty()).await;
    assert_eq!(forced.status, StatusCode::ACCEPTED);
    let wrong = server.call(Method::POST, "/quotas/users/frank/scan?force=perhaps", &[], Body::empty()).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    let request = v1::GetQuotaRequest { username: "frank".into(), consistency: 0 };
    let quota = server.quotas().get_quota(request).await.expect("read").into_inner().quota.expect("the ledger");
    assert!(quota.scan_wanted);
    assert_eq!(quota.home_dir, "/srv/files/frank");
}

#[tokio::test]
async fn the_cluster_is_the_same_over_either() {
    let server = Server::start().await;
    let status = server.status().get_status(v1::GetStatusRequest {}).await.expect("status").into_inner();
    let rest = server.get("/cluster").await.json();
    assert_eq!(rest["cluster_id"], status.cluster_id);
    assert_eq!(rest["leader"], status.leader);
    assert_eq!(rest["nodes"][0]["address"], status.nodes[0].address);
    assert_eq!(rest["nodes"][0]["role"], status.nodes[0].role);
}
