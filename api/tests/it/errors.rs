//! Errors: their body, their headers, their gRPC details, and the same table behind both.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use flotilla_cluster::Cluster;
use flotilla_model::command::{Expected, Put};
use flotilla_model::{Command, GroupSpec, Name};
use flotilla_proto::admin::v1;
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt;

use crate::fixture::{POWERLESS, ROOT, Server, user};

#[tokio::test]
async fn a_missing_user_is_not_found_in_sftpgos_words_and_in_typed_details() {
    let server = Server::start().await;
    let answer = server.get("/users/nobody").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let expected = json!({
        "message": "user nobody does not exist", "error": "Not Found", "code": "not_found", "definite": true,
        "retryable": false, "request_id": null, "log_index": server.cluster.local.state().applied_index(),
    });
    assert_eq!(answer.json(), expected);
    assert_eq!(answer.json()["log_index"].to_string(), answer.header("flotilla-log-index"));
    let request = v1::GetUserRequest { username: "nobody".into(), consistency: 0 };
    let status = server.users().get_user(request).await.expect_err("missing");
    assert_eq!((status.code(), status.message()), (Code::NotFound, "user nobody does not exist"));
    let info = status.get_details_error_info().expect("typed details");
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("NOT_FOUND", "flotilla"));
    assert_eq!((info.metadata["definite"].as_str(), info.metadata["retryable"].as_str()), ("true", "false"));
}

#[tokio::test]
async fn what_does_not_exist_does_not_at_the_index_that_is_named_whatever_is_applied_meanwhile() {
    let server = Server::start().await;
    let mut behind_the_read = 0;
    for look in 0.. {
        let name = format!("late{look}");
        let name_of_it = Name::parse(&name).expect("a name");
        let put = Put { name: name_of_it, expected: Expected::Absent, spec: GroupSpec::default() };
        *server.cluster.behind_look.lock().expect("no panic while held") = Some((look, Command::PutGroup(put)));
        let answer = server.get(&format!("/groups/{name}")).await;
        if server.cluster.behind_look.lock().expect("no panic while held").take().is_some() {
            assert!(look > 0, "the state was not looked at");
            break;
        }
        let made = server.cluster.local.state().applied_index();
        let index = answer.header("flotilla-log-index").parse::<u64>().expect("an index");
        match answer.status {
            StatusCode::OK => assert!(index >= made, "found at {index}, made at {made}"),
            _ => {
                assert_eq!(answer.status, StatusCode::NOT_FOUND);
                assert!(index < made, "absent at {index}, made at {made}, behind look {look}");
                behind_the_read += 1;
            }
        }
    }
    assert!(behind_the_read > 0, "nothing was ever applied between the read and its answer");
}

#[tokio::test]
async fn a_refusal_of_apply_names_its_request_and_index() {
    let server = Server::start().await;
    server.add("alice").await;
    let id = uuid::Uuid::now_v7().to_string();
    let body = json!({"username": "alice", "permissions": {"/": ["*"]}}).to_string();
    let answer = server.call(Method::POST, "/users", &[("flotilla-request-id", &id)], body).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    let error = answer.json();
    assert_eq!((error["code"].as_str(), error["request_id"].as_str()), (Some("already_exists"), Some(id.as_str())));
    assert_eq!(error["log_index"].to_string(), answer.header("flotilla-log-index"));
    let request = v1::CreateUserRequest { user: Some(user("alice")), ..Default::default() };
    let status = server.users().create_user(request).await.expect_err("taken");
    assert_eq!(status.code(), Code::AlreadyExists);
}

#[tokio::test]
async fn a_bad_field_is_named_over_either() {
    let server = Server::start().await;
    let named = async |change: serde_json::Value, field: &str| {
        let mut body = json!({"username": "bob", "permissions": {"/": ["*"]}});
        body.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        let answer = server.send(Method::POST, "/users", &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{field}: {}", answer.text);
        let message = answer.json()["message"].as_str().expect("a text").to_owned();
        assert!(message.contains(field), "{field}: {message}");
    };
    named(json!({"quota_size": -1}), "quota_size").await;
    named(json!({"quota_size": "5"}), "quota_size").await;
    named(json!({"uid": 4_000_000_000u64}), "uid").await;
    named(json!({"status": 2}), "status").await;
    named(json!({"permissions": {"/": ["fly"]}}), "permissions").await;
    named(json!({"permissions": {}}), "permissions").await;
    named(json!({"permissions": {"/": ["*"], "/a/../b": ["*"]}}), "permissions").await;
    named(json!({"public_keys": ["not a key"]}), "public_keys").await;
    named(json!({"filters": {"allowed_ip": ["10.0.0.0/33"]}}), "filters.allowed_ip").await;
    named(json!({"filters": {"denied_protocols": ["GOPHER"]}}), "filters.denied_protocols").await;
    named(json!({"home_dir": "/elsewhere"}), "home_dir").await;
    named(json!({"home_dir": "/srv/files/../etc"}), "home_dir").await;
    named(json!({"username": "a/b"}), "username").await;
    named(json!({"no_such_field": 1}), "no_such_field").await;
    named(json!({"password": "x".repeat(1025)}), "password").await;

    let wanted = v1::User { home_dir: "/elsewhere".into(), ..user("bob") };
    let request = v1::CreateUserRequest { user: Some(wanted), ..Default::default() };
    let status = server.users().create_user(request).await.expect_err("not under a storage");
    assert!(status.message().contains("files at /srv/files"), "the storages are named: {}", status.message());
    let violations = status.get_details_bad_request().expect("typed details").field_violations;
    assert_eq!(violations[0].field, "home_dir");
}

#[tokio::test]
async fn without_a_quorum_changes_and_reads_are_unavailable_and_only_the_status_answers() {
    let server = Server::start().await;
    server.cluster.no_quorum.store(true, Ordering::Release);
    let answer = server.get("/users").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let error = answer.json();
    assert_eq!(
        (&error["code"], &error["definite"], &error["retryable"]),
        (&json!("no_quorum"), &json!(true), &json!(true))
    );
    assert_eq!(answer.header("retry-after"), "1");
    let status = server.users().list_users(v1::ListUsersRequest::default()).await.expect_err("no quorum");
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_details_retry_info().is_some());
    let view = server.get("/cluster").await;
    assert_eq!((view.status, &view.json()["leader"]), (StatusCode::OK, &json!(null)));
    server.status().get_status(v1::GetStatusRequest {}).await.expect("answers without a quorum");
    server.status().ping(v1::PingRequest {}).await.expect_err("needs a quorum");
}

#[tokio::test]
async fn without_a_quorum_a_caller_that_is_not_known_here_is_not_refused_but_told_to_ask_elsewhere() {
    let server = Server::start().await;
    let ask = async |token: &str| {
        let bearer = format!("Bearer {token}");
        server.bare(Method::GET, "/api/v2/cluster", &[("authorization", &bearer)], Body::empty()).await
    };
    assert_eq!(ask("made a moment ago").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(POWERLESS).await.status, StatusCode::FORBIDDEN);
    server.cluster.no_quorum.store(true, Ordering::Release);
    // The first may be known to the others, the second may hold more permissions there.
    for token in ["made a moment ago", POWERLESS] {
        let answer = ask(token).await;
        assert_eq!((answer.status, &answer.json()["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("no_quorum")));
        assert!(answer.json()["message"].as_str().expect("a text").contains("may lag"), "{}", answer.text);
        let mut cluster = v1::cluster_client::ClusterClient::new(server.channel.clone());
        let mut request = tonic::Request::new(v1::GetStatusRequest {});
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("ASCII"));
        assert_eq!(cluster.get_status(request).await.expect_err("not proven").code(), Code::Unavailable);
    }
    assert_eq!(ask(ROOT).await.status, StatusCode::OK, "who is known is answered");
    let none = server.bare(Method::GET, "/api/v2/cluster", &[], Body::empty()).await;
    assert_eq!(none.status, StatusCode::UNAUTHORIZED, "no credential is none anywhere");
}

#[tokio::test]
async fn a_lost_answer_is_not_definite_and_the_same_request_id_tells_what_became_of_it() {
    let server = Server::start().await;
    let id = uuid::Uuid::now_v7().to_string();
    let headers = [("flotilla-request-id", id.as_str())];
    let body = json!({"username": "carol", "permissions": {"/": ["*"]}}).to_string();
    server.cluster.lose_answers.store(true, Ordering::Release);
    let lost = server.call(Method::POST, "/users", &headers, body.clone()).await;
    assert_eq!(lost.status, StatusCode::GATEWAY_TIMEOUT);
    let error = lost.json();
    assert_eq!(
        (&error["code"], &error["definite"], &error["retryable"]),
        (&json!("outcome_unknown"), &json!(false), &json!(true))
    );
    assert_eq!(error["request_id"], id);
    server.cluster.lose_answers.store(false, Ordering::Release);
    let again = server.call(Method::POST, "/users", &headers, body).await;
    assert_eq!(again.status, StatusCode::CREATED, "it had been made: {}", again.text);
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused() {
    let server = Server::start().await;
    for body in ["", "{", "[]", "null", "{\"username\":\"a\"} x"] {
        let answer = server.call(Method::POST, "/users", &[], Body::from(body)).await;
        assert_eq!((answer.status, &answer.json()["code"]), (StatusCode::BAD_REQUEST, &json!("invalid")), "{body}");
    }
}
