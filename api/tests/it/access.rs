//! Who may call what: nobody without a token, nobody without the permission; nothing outside the table.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use flotilla_api::access::{CALLS, ROUTES, Verb};
use flotilla_proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use tonic::Code;

use crate::fixture::{POWERLESS, ROOT, Server};

/// Every call of the checked-in services.
fn calls() -> BTreeSet<String> {
    let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the descriptor set");
    let mut calls = BTreeSet::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                calls.insert(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    calls
}

async fn call(server: &Server, path: &str, token: Option<&str>) -> Code {
    let mut client = tonic::client::Grpc::new(server.channel.clone());
    client.ready().await.expect("a connection");
    let mut request = tonic::Request::new(());
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("ASCII"));
    }
    let path = path.parse().expect("a path");
    let answer = client.unary::<(), (), _>(request, path, tonic_prost::ProstCodec::default()).await;
    answer.err().map_or(Code::Ok, |status| status.code())
}

#[test]
fn every_call_of_the_services_stands_in_the_table_and_nothing_else_does() {
    let admin = |path: &&&str| path.starts_with("/flotilla.");
    let table: BTreeSet<String> =
        CALLS.iter().map(|(path, _)| path).filter(admin).map(|path| path.to_string()).collect();
    assert_eq!(table, calls());
}

#[tokio::test]
async fn no_call_answers_without_a_token_or_to_an_unknown_one() {
    let server = Server::start().await;
    for (path, _) in CALLS {
        assert_eq!(call(&server, path, None).await, Code::Unauthenticated, "{path}");
        assert_eq!(call(&server, path, Some("guess")).await, Code::Unauthenticated, "{path}");
    }
}

#[tokio::test]
async fn no_call_answers_without_its_permission() {
    let server = Server::start().await;
    for path in calls() {
        let code = call(&server, &path, Some(POWERLESS)).await;
        match flotilla_api::access::call(&path).expect("in the table") {
            Verb::Look => assert_ne!(code, Code::PermissionDenied, "{path}"),
            _ => assert_eq!(code, Code::PermissionDenied, "{path}"),
        }
        let code = call(&server, &path, Some(ROOT)).await;
        assert!(
            !matches!(code, Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented),
            "{path}: {code:?}"
        );
    }
}

#[tokio::test]
async fn no_route_answers_without_a_token_or_its_permission() {
    let server = Server::start().await;
    for (method, route, verb) in ROUTES {
        let path = format!("/api/v2{}", route.replace("{username}", "nobody").replace("{id}", "1-2-3"));
        let method: Method = method.parse().expect("a method");
        let bare = server.bare(method.clone(), &path, &[], Body::empty()).await;
        assert_eq!(bare.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        assert_eq!(bare.json()["code"], "unauthenticated");
        let token = format!("Bearer {POWERLESS}");
        let powerless = server.bare(method.clone(), &path, &[("authorization", &token)], Body::empty()).await;
        let forbidden = powerless.status == StatusCode::FORBIDDEN;
        assert_eq!(forbidden, *verb != Verb::Look, "{method} {path}: {}", powerless.text);
        let token = format!("Bearer {ROOT}");
        let root = server.bare(method.clone(), &path, &[("authorization", &token)], Body::empty()).await;
        let refused = [StatusCode::FORBIDDEN, StatusCode::UNAUTHORIZED, StatusCode::METHOD_NOT_ALLOWED];
        assert!(!refused.contains(&root.status), "{method} {path}: {}", root.text);
    }
}

#[tokio::test]
async fn a_revoked_token_is_refused_at_its_next_call() {
    let server = Server::start().await;
    let request = flotilla_proto::admin::v1::DeleteTokenRequest { name: "powerless".into(), ..Default::default() };
    assert_eq!(call(&server, "/flotilla.admin.v1.Cluster/Ping", Some(POWERLESS)).await, Code::Ok);
    server.tokens().delete_token(request).await.expect("deleted");
    assert_eq!(call(&server, "/flotilla.admin.v1.Cluster/Ping", Some(POWERLESS)).await, Code::Unauthenticated);
}

#[tokio::test]
async fn an_unknown_route_or_method_is_told_apart_only_for_those_with_a_token() {
    let server = Server::start().await;
    assert_eq!(server.bare(Method::GET, "/api/v2/nothing", &[], Body::empty()).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(server.get("/nothing").await.status, StatusCode::NOT_FOUND);
    let patched = server.call(Method::PATCH, "/users", &[], Body::empty()).await;
    assert_eq!(
        (patched.status, &patched.json()["code"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"method_not_allowed".into())
    );
}
