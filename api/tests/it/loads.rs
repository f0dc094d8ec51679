//! Loads under a request id: answered once for the whole, however often they are sent.

use axum::http::{Method, StatusCode};
use flotilla_cluster::Cluster;
use flotilla_model::NodeId;
use serde_json::{Value, json};

use crate::fixture::Server;
use crate::http::Answer;

async fn load(server: &Server, id: &str, query: &str, body: &Value) -> Answer {
    let headers = [("flotilla-request-id", id)];
    server.call(Method::POST, &format!("/loaddata{query}"), &headers, body.to_string()).await
}

fn dump(text: &str) -> Value {
    let named = |name: &str| json!({"name": name, "description": text});
    let user = |name: String| json!({"username": name, "permissions": {"/": ["*"]}, "description": text});
    let users: Vec<Value> = (0..40).map(|at| user(format!("u{at}"))).collect();
    json!({"version": 17, "roles": [named("r")], "groups": [named("g")], "users": users})
}

#[tokio::test]
async fn a_load_is_answered_under_its_own_id_and_its_repetition_the_same() {
    let server = Server::start().await;
    let id = uuid::Uuid::now_v7().to_string();
    let first = load(&server, &id, "", &dump("first")).await;
    assert_eq!((first.status, first.header("flotilla-request-id")), (StatusCode::OK, id.as_str()), "{}", first.text);
    let change = json!({"permissions": {"/": ["*"]}, "description": "changed since"});
    assert_eq!(server.send(Method::PUT, "/users/u7", &change).await.status, StatusCode::OK);
    let told = server.cluster.state().last_event_number();
    // What its cuts concern may not be cut everywhere yet.
    *server.cluster.unconfirmed.lock().expect("no panic while held") = vec![NodeId(1)];
    let unsure = load(&server, &id, "", &dump("first")).await;
    assert_eq!((unsure.status, &unsure.json()["unconfirmed_nodes"]), (first.status, &json!([1])), "{}", unsure.text);
    server.cluster.unconfirmed.lock().expect("no panic while held").clear();
    let again = load(&server, &id, "", &dump("first")).await;
    assert_eq!((again.status, &again.text), (first.status, &first.text));
    for header in ["flotilla-request-id", "flotilla-log-index"] {
        assert_eq!(again.header(header), first.header(header), "{header}");
    }
    assert_eq!(server.cluster.state().last_event_number(), told, "nothing was done twice");
    assert_eq!(server.get("/users/u7").await.json()["description"], "changed since");
    // Another id is another load.
    let other = uuid::Uuid::now_v7().to_string();
    assert_eq!(load(&server, &other, "", &dump("second")).await.status, StatusCode::OK);
    assert_eq!(server.get("/users/u7").await.json()["description"], "second");
}

#[tokio::test]
async fn a_load_whose_answers_were_lost_is_gone_on_with_under_its_id() {
    use std::sync::atomic::Ordering;
    let server = Server::start().await;
    assert_eq!(load(&server, &uuid::Uuid::now_v7().to_string(), "", &dump("before")).await.status, StatusCode::OK);
    let id = uuid::Uuid::now_v7().to_string();
    server.cluster.lose_answers.store(true, Ordering::Release);
    let lost = load(&server, &id, "", &dump("loaded")).await;
    assert_eq!(lost.status, StatusCode::GATEWAY_TIMEOUT, "{}", lost.text);
    let error = lost.json();
    assert_eq!((&error["definite"], &error["request_id"]), (&json!(false), &json!(id)), "the load's own id");
    server.cluster.lose_answers.store(false, Ordering::Release);
    let whole = load(&server, &id, "", &dump("loaded")).await;
    assert_eq!(whole.status, StatusCode::OK, "{}", whole.text);
    for at in 0..40 {
        assert_eq!(server.get(&format!("/users/u{at}")).await.json()["description"], "loaded", "u{at}");
    }
}

#[tokio::test]
async fn a_repeated_load_ends_no_session_that_was_opened_since() {
    let server = Server::start().await;
    let id = uuid::Uuid::now_v7().to_string();
    assert_eq!(load(&server, &id, "?mode=2", &dump("one")).await.status, StatusCode::OK);
    let session = server.log_in("u1");
    assert_eq!(load(&server, &id, "?mode=2", &dump("one")).await.status, StatusCode::OK);
    let state = server.cluster.state();
    assert_eq!(state.session_cut(state.session(session).expect("open")), None);
    assert_eq!(load(&server, &uuid::Uuid::now_v7().to_string(), "?mode=2", &dump("one")).await.status, StatusCode::OK);
    let state = server.cluster.state();
    assert!(state.session_cut(state.session(session).expect("its row")).is_some());
}

#[tokio::test]
async fn what_the_cluster_refuses_of_a_load_is_refused_under_the_loads_id() {
    let server = Server::start().await;
    let id = uuid::Uuid::now_v7().to_string();
    let user = json!({"username": "u", "permissions": {"/": ["*"]}, "role": "missing"});
    let refused = load(&server, &id, "", &json!({"users": [user]})).await;
    assert_eq!((refused.status, &refused.json()["request_id"]), (StatusCode::BAD_REQUEST, &json!(id)));
    assert!(refused.text.contains("user u: invalid: role"), "{}", refused.text);
}

#[tokio::test]
async fn a_load_too_large_for_an_id_is_refused_whole_and_taken_without_one() {
    let server = Server::start().await;
    let user = |at: usize| json!({"username": format!("u{at}"), "permissions": {"/": ["*"]}});
    let body = json!({"users": (0..2_001).map(user).collect::<Vec<_>>()});
    let refused = load(&server, &uuid::Uuid::now_v7().to_string(), "", &body).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    assert!(refused.text.contains("2001 records") && refused.text.contains("split the dump"), "{}", refused.text);
    assert_eq!(server.get("/users/u0").await.status, StatusCode::NOT_FOUND);
    assert_eq!(server.call(Method::POST, "/loaddata", &[], body.to_string()).await.status, StatusCode::OK);
}
