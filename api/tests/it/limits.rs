//! Bodies and messages that are too large or too deep are refused without being worked on.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use flotilla_proto::admin::v1;
use tonic::Code;

use crate::fixture::{Server, user};

#[tokio::test]
async fn a_body_of_more_than_a_mebibyte_is_too_large() {
    let server = Server::start().await;
    let body = format!("{{\"description\":\"{}\"}}", "x".repeat(1 << 20));
    let answer = server.call(Method::POST, "/users", &[], Body::from(body)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.json()["code"], "too_large");
}

#[tokio::test]
async fn a_deeply_nested_body_is_refused() {
    let server = Server::start().await;
    let depth = 100_000;
    let body = format!("{{\"filters\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let answer = server.call(Method::POST, "/users", &[], Body::from(body)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.json()["message"].as_str().expect("a text").contains("recursion"), "{}", answer.text);
}

#[tokio::test]
async fn a_message_of_more_than_a_mebibyte_is_refused() {
    let server = Server::start().await;
    let big = v1::User { description: "x".repeat(1 << 20), ..user("alice") };
    let request = v1::CreateUserRequest { user: Some(big), ..Default::default() };
    let code = server.users().create_user(request).await.expect_err("refused").code();
    assert!(matches!(code, Code::OutOfRange | Code::ResourceExhausted), "{code:?}");
}
