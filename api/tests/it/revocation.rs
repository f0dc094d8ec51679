//! What takes something away: the answer waits for the nodes concerned and names those that have not confirmed.

use axum::body::Body;
use axum::http::Method;
use flotilla_model::NodeId;
use flotilla_proto::FieldMask;
use flotilla_proto::admin::v1;
use serde_json::json;

use crate::fixture::{Server, user};

fn disable(username: &str) -> v1::UpdateUserRequest {
    v1::UpdateUserRequest {
        user: Some(v1::User { status: v1::UserStatus::Disabled.into(), ..user(username) }),
        update_mask: Some(FieldMask { paths: vec!["status".into()] }),
        ..Default::default()
    }
}

#[tokio::test]
async fn disabling_asks_the_nodes_with_sessions_and_names_those_that_did_not_confirm() {
    let server = Server::start().await;
    server.add("alice").await;
    server.log_in("alice");
    *server.cluster.unconfirmed.lock().expect("no panic") = vec![NodeId(1)];
    let answer = server.users().update_user(disable("alice")).await.expect("disabled").into_inner();
    assert_eq!(*server.cluster.asked.lock().expect("no panic"), [NodeId(1)]);
    assert_eq!(answer.result.expect("a result").unconfirmed_nodes, [1]);
    assert_eq!(answer.user.expect("the record").status(), v1::UserStatus::Disabled);
}

#[tokio::test]
async fn disabling_a_user_without_sessions_waits_for_nobody() {
    let server = Server::start().await;
    server.add("bob").await;
    *server.cluster.unconfirmed.lock().expect("no panic") = vec![NodeId(1)];
    let answer = server.users().update_user(disable("bob")).await.expect("disabled").into_inner();
    assert_eq!(answer.result.expect("a result").unconfirmed_nodes, Vec::<u64>::new());
    assert!(server.cluster.asked.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn rest_names_the_nodes_too_for_replacing_deleting_and_killing() {
    let server = Server::start().await;
    server.add("carol").await;
    *server.cluster.unconfirmed.lock().expect("no panic") = vec![NodeId(1)];
    let session = server.log_in("carol");
    let killed = server.call(Method::DELETE, &format!("/connections/{session}"), &[], Body::empty()).await;
    assert_eq!(killed.json(), json!({"message": "Connection closed", "unconfirmed_nodes": [1]}));
    server.log_in("carol");
    let body = json!({"status": 0, "permissions": {"/": ["*"]}});
    let replaced = server.send(Method::PUT, "/users/carol", &body).await;
    assert_eq!(replaced.json()["unconfirmed_nodes"], json!([1]), "{}", replaced.text);
    let deleted = server.call(Method::DELETE, "/users/carol", &[], Body::empty()).await;
    assert_eq!(deleted.json()["unconfirmed_nodes"], json!([1]), "a session cut before is still one to wait for");
}
