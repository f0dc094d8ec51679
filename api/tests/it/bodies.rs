//! Bad bodies on every route that takes one: a clear answer, and nothing half done. Old revisions and used request ids on every
//! kind of record.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use flotilla_cluster::Cluster as _;
use serde_json::{Value, json};

use crate::document::DOCUMENT;
use crate::fixture::Server;

/// Method, path with a name in its hole, and the most that is taken, of each route with a body.
fn taking_bodies() -> Vec<(Method, String, usize)> {
    let paths = DOCUMENT["paths"].as_object().expect("paths").iter();
    let taking = paths.flat_map(|(path, item)| {
        let operations = item.as_object().expect("operations").iter();
        operations.filter(|(_, operation)| operation.get("requestBody").is_some()).map(move |(method, _)| {
            let most = if path == "/loaddata" { 20 << 20 } else { 1 << 20 };
            let named = path.split('/').map(|part| if part.starts_with('{') { "nobody" } else { part });
            (method.to_uppercase().parse().expect("a method"), named.collect::<Vec<_>>().join("/"), most)
        })
    });
    let all: Vec<_> = taking.collect();
    assert!(all.len() >= 13, "six kinds made and replaced, and the load: {all:?}");
    all
}

#[tokio::test]
async fn huge_deep_mistyped_and_unknown_are_said_on_every_route_and_change_nothing() {
    let server = Server::start().await;
    let before = server.cluster.state().applied_index();
    for (method, path, most) in taking_bodies() {
        let send = async |body: String| {
            let answer = server.call(method.clone(), &path, &[], Body::from(body)).await;
            (answer.status, answer.json())
        };
        let (status, said) = send(format!("{{\"description\":\"{}\"}}", "x".repeat(most))).await;
        assert_eq!((status, &said["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("too_large")), "{method} {path}");
        assert!(said["message"].as_str().expect("a text").contains("MiB"), "{said}: the bound is named");

        let deep = format!("{{\"description\":{}{}}}", "[".repeat(50_000), "]".repeat(50_000));
        let (status, said) = send(deep).await;
        assert_eq!((status, &said["code"]), (StatusCode::BAD_REQUEST, &json!("invalid")), "{method} {path}");

        for body in ["", "null", "7", "[]", "\"text\"", "{", "{\"a\":1}}", "\u{0}"] {
            let (status, said) = send(body.to_owned()).await;
            assert_eq!(
                (status, &said["code"]),
                (StatusCode::BAD_REQUEST, &json!("invalid")),
                "{method} {path} {body:?}"
            );
        }
        let (status, said) = send(json!({"no_such_field": 1}).to_string()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{method} {path}: {said}");
        assert!(said["message"].as_str().expect("a text").contains("no_such_field"), "{method} {path}: {said}");

        let field = if path == "/loaddata" { "users" } else { "description" };
        let (status, said) = send(json!({field: {"a": 1}}).to_string()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{method} {path}: {said}");
        assert!(said["message"].as_str().expect("a text").contains(field), "{method} {path}: {said}");
        assert_eq!(said["definite"], true);
    }
    for path in ["/users", "/admins"] {
        let body = json!({"username": "one", "permissions": [], "filters": [["192.0.2.0/24"]]});
        let answer = server.send(Method::POST, path, &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(answer.json()["message"].as_str().expect("a text").starts_with("filters"), "{}", answer.text);
    }
    assert_eq!(server.cluster.state().applied_index(), before, "nothing was even proposed");
}

/// A path, how a record of it is made, and its name's field.
fn kinds() -> [(&'static str, Value); 5] {
    [
        ("users", json!({"username": "one", "permissions": {"/": ["*"]}})),
        ("admins", json!({"username": "one", "permissions": ["*"]})),
        ("groups", json!({"name": "one"})),
        ("folders", json!({"name": "one", "mapped_path": "/srv/one"})),
        ("roles", json!({"name": "one"})),
    ]
}

#[tokio::test]
async fn an_old_revision_changes_and_deletes_nothing_of_any_kind() {
    let server = Server::start().await;
    for (path, body) in kinds() {
        let made = server.send(Method::POST, &format!("/{path}"), &body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{path}: {}", made.text);
        let old = made.header("etag").to_owned();
        let one = format!("/{path}/one");
        let with = |text: &str| {
            let mut changed = body.clone();
            changed["description"] = json!(text);
            changed.to_string()
        };
        let matched = [("if-match", old.as_str())];
        assert_eq!(server.call(Method::PUT, &one, &matched, with("first")).await.status, StatusCode::OK, "{path}");
        for (method, body) in [(Method::PUT, with("late")), (Method::DELETE, String::new())] {
            let late = server.call(method.clone(), &one, &matched, body).await;
            let said = late.json();
            assert_eq!(late.status, StatusCode::PRECONDITION_FAILED, "{method} {path}: {said}");
            assert_eq!((&said["code"], &said["definite"]), (&json!("revision_mismatch"), &json!(true)), "{path}");
        }
        let read = server.get(&one).await;
        assert_eq!(read.json()["description"], "first", "{path}");
        let now = read.header("etag").to_owned();
        let gone = server.call(Method::DELETE, &one, &[("if-match", now.as_str())], Body::empty()).await;
        assert_eq!(gone.status, StatusCode::OK, "{path}: {}", gone.text);
    }
}

#[tokio::test]
async fn a_replayed_request_id_does_nothing_twice_whatever_it_did() {
    let server = Server::start().await;
    for (path, body) in kinds() {
        let one = format!("/{path}/one");
        let fresh = || uuid::Uuid::now_v7().to_string();
        let again = async |method: Method, path: &str, id: &str, body: String| {
            let answer = server.call(method, path, &[("flotilla-request-id", id)], body).await;
            (answer.status, answer.text)
        };
        let id = fresh();
        let first = again(Method::POST, &format!("/{path}"), &id, body.to_string()).await;
        assert_eq!(first.0, StatusCode::CREATED, "{path}: {}", first.1);
        let second = again(Method::POST, &format!("/{path}"), &id, body.to_string()).await;
        assert_eq!(second, first, "{path}: the same record");

        let (id, mut changed) = (fresh(), body.clone());
        changed["description"] = json!("first");
        let first = again(Method::PUT, &one, &id, changed.to_string()).await;
        assert_eq!(first.0, StatusCode::OK, "{path}: {}", first.1);
        changed["description"] = json!("since");
        assert_eq!(again(Method::PUT, &one, &fresh(), changed.to_string()).await.0, StatusCode::OK);
        changed["description"] = json!("first");
        let second = again(Method::PUT, &one, &id, changed.to_string()).await;
        assert_eq!(second, first, "{path}");
        assert_eq!(server.get(&one).await.json()["description"], "since", "{path}: not done again");

        let id = fresh();
        let first = again(Method::DELETE, &one, &id, String::new()).await;
        assert_eq!(first.0, StatusCode::OK, "{path}: {}", first.1);
        assert_eq!(again(Method::POST, &format!("/{path}"), &fresh(), body.to_string()).await.0, StatusCode::CREATED);
        let second = again(Method::DELETE, &one, &id, String::new()).await;
        assert_eq!(second, first, "{path}");
        assert_eq!(server.get(&one).await.status, StatusCode::OK, "{path}: the new one stays");
    }
}

#[tokio::test]
async fn a_request_id_from_the_future_is_invalid_and_one_that_is_no_uuid_7_too() {
    let server = Server::start().await;
    let ahead = uuid::Timestamp::from_unix_time(4_102_444_800, 0, 0, 0);
    for id in [uuid::Uuid::new_v7(ahead).to_string(), uuid::Uuid::new_v4().to_string(), "7".into(), String::new()] {
        let body = json!({"name": "one"}).to_string();
        let answer = server.call(Method::POST, "/roles", &[("flotilla-request-id", &id)], body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{id}: {}", answer.text);
    }
    assert_eq!(server.get("/roles/one").await.status, StatusCode::NOT_FOUND);
}
