//! Request ids and revisions: done once, and only on what was read.

use axum::http::{Method, StatusCode};
use flotilla_proto::FieldMask;
use flotilla_proto::admin::v1;
use serde_json::json;
use tonic::Code;

use crate::fixture::{Server, user};

#[tokio::test]
async fn a_repeated_request_answers_the_same_and_does_nothing_twice() {
    let server = Server::start().await;
    let request = v1::CreateUserRequest {
        user: Some(user("alice")),
        request_id: uuid::Uuid::now_v7().to_string(),
        ..Default::default()
    };
    let first = server.users().create_user(request.clone()).await.expect("created").into_inner();
    let second = server.users().create_user(request.clone()).await.expect("the same answer").into_inner();
    assert_eq!(first.user, second.user, "nothing changed in between");
    assert_eq!(second.result.expect("a result").request_id, request.request_id);
    let again = v1::CreateUserRequest { request_id: String::new(), ..request };
    assert_eq!(server.users().create_user(again).await.expect_err("taken").code(), Code::AlreadyExists);
}

#[tokio::test]
async fn a_repeated_change_names_the_index_at_which_it_was_made() {
    let server = Server::start().await;
    let body = |text: &str| json!({"username": "eve", "permissions": {"/": ["*"]}, "description": text}).to_string();
    server.call(Method::POST, "/users", &[], body("made")).await;
    let id = uuid::Uuid::now_v7().to_string();
    let once = [("flotilla-request-id", id.as_str())];
    let first = server.call(Method::PUT, "/users/eve", &once, body("changed")).await;
    let revision = server.call(Method::GET, "/users/eve", &[], "").await.header("etag").to_owned();
    assert_eq!(format!("\"{}\"", first.header("flotilla-log-index")), revision);
    server.call(Method::PUT, "/users/eve", &[], body("changed since")).await;
    let again = server.call(Method::PUT, "/users/eve", &once, body("changed")).await;
    assert_eq!(again.header("flotilla-log-index"), first.header("flotilla-log-index"));
    assert_eq!(server.call(Method::GET, "/users/eve", &[], "").await.json()["description"], "changed since");
}

#[tokio::test]
async fn an_idempotency_key_that_is_a_uuid_7_is_the_request_id_and_another_is_not_ours() {
    let server = Server::start().await;
    let body = json!({"username": "bob", "permissions": {"/": ["*"]}}).to_string();
    let id = uuid::Uuid::now_v7().to_string();
    let ours = [("idempotency-key", id.as_str())];
    let first = server.call(Method::POST, "/users", &ours, body.clone()).await;
    assert_eq!((first.status, first.header("flotilla-request-id")), (StatusCode::CREATED, id.as_str()));
    assert_eq!(server.call(Method::POST, "/users", &ours, body.clone()).await.status, StatusCode::CREATED);
    let other = [("idempotency-key", "order-17")];
    assert_eq!(server.call(Method::POST, "/users", &other, body.clone()).await.status, StatusCode::CONFLICT);
    let bad = [("flotilla-request-id", "order-17")];
    assert_eq!(server.call(Method::POST, "/users", &bad, body).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_update_on_an_old_revision_changes_nothing() {
    let server = Server::start().await;
    server.add("carol").await;
    let read = server.get("/users/carol").await;
    let etag = read.header("etag").to_owned();
    assert_eq!(etag, format!("\"{}\"", read.json()["revision"]));
    let body = json!({"permissions": {"/": ["*"]}, "max_sessions": 1}).to_string();
    let matched = [("if-match", etag.as_str())];
    assert_eq!(server.call(Method::PUT, "/users/carol", &matched, body.clone()).await.status, StatusCode::OK);
    let late = server.call(Method::PUT, "/users/carol", &matched, body.replace('1', "2")).await;
    assert_eq!((late.status, &late.json()["code"]), (StatusCode::PRECONDITION_FAILED, &json!("revision_mismatch")));
    assert_eq!(server.get("/users/carol").await.json()["max_sessions"], 1);

    let request = v1::UpdateUserRequest {
        user: Some(v1::User { max_sessions: 9, ..user("carol") }),
        update_mask: Some(FieldMask { paths: vec!["max_sessions".into()] }),
        expected_revision: Some(1),
        ..Default::default()
    };
    assert_eq!(server.users().update_user(request).await.expect_err("old").code(), Code::Aborted);
    let request = v1::DeleteUserRequest { username: "carol".into(), expected_revision: Some(1), ..Default::default() };
    assert_eq!(server.users().delete_user(request).await.expect_err("old").code(), Code::Aborted);
    assert_eq!(server.get("/users/carol").await.json()["max_sessions"], 1);
    let bad = [("if-match", "\"abc\"")];
    assert_eq!(server.call(Method::PUT, "/users/carol", &bad, body).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_mask_that_names_nothing_or_what_nobody_may_change_is_refused() {
    let server = Server::start().await;
    server.add("dave").await;
    for paths in [vec![], vec!["revision".to_owned()], vec!["username".to_owned()]] {
        let request = v1::UpdateUserRequest {
            user: Some(user("dave")),
            update_mask: Some(FieldMask { paths }),
            ..Default::default()
        };
        assert_eq!(server.users().update_user(request).await.expect_err("refused").code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_stale_read_says_so_and_answers() {
    let server = Server::start().await;
    server.add("erin").await;
    assert_eq!(server.get("/users?consistency=stale").await.status, StatusCode::OK);
    assert_eq!(server.get("/users?consistency=fresh").await.status, StatusCode::BAD_REQUEST);
    let request = v1::ListUsersRequest { consistency: v1::Consistency::Stale.into(), ..Default::default() };
    let page = server.users().list_users(request).await.expect("a page").into_inner();
    assert!(page.log_index > 0);
    let request = v1::ListUsersRequest { consistency: 9, ..Default::default() };
    assert_eq!(server.users().list_users(request).await.expect_err("unknown").code(), Code::InvalidArgument);
}
