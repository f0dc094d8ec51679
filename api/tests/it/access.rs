//! Who may call what: nobody without a token, nobody without the permission; nothing outside the table.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use flotilla_api::access::{CALLS, PERMISSIONS, ROUTES, Verb};
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

pub async fn call(server: &Server, path: &str, token: Option<&str>) -> Code {
    let mut client = tonic::client::Grpc::new(server.channel.clone());
    client.ready().await.expect("a connection");
    let mut request = tonic::Request::new(());
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("ASCII"));
    }
    let path = path.parse().expect("a path");
    // The streams among the calls begin and are not read.
    let answer = client.server_streaming::<(), (), _>(request, path, tonic_prost::ProstCodec::default()).await;
    answer.err().map_or(Code::Ok, |status| status.code())
}

pub async fn route(server: &Server, method: &str, route: &str, token: Option<&str>) -> StatusCode {
    let named = [("{username}", "nobody"), ("{name}", "nothing")];
    let path = named.iter().fold(route.to_owned(), |path, (hole, name)| path.replace(hole, name));
    let id = if route.starts_with("/connections") { "1-2-3" } else { "none" };
    let path = format!("/api/v2{}", path.replace("{id}", id));
    let bearer = token.map(|token| format!("Bearer {token}")).unwrap_or_default();
    let headers: &[(&str, &str)] = if token.is_some() { &[("authorization", &bearer)] } else { &[] };
    server.bare(method.parse().expect("a method"), &path, headers, Body::empty()).await.status
}

/// Reflection is no call of ours, and a login is no matter of tokens.
fn judged() -> impl Iterator<Item = &'static (&'static str, Verb)> {
    CALLS.iter().filter(|(path, verb)| path.starts_with("/flotilla.") && *verb != Verb::Login)
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
async fn every_verb_answers_to_who_holds_its_permission_and_to_nobody_else() {
    let server = Server::start().await;
    for held in PERMISSIONS {
        server.token(held, &[held]);
        for (path, verb) in judged() {
            let may = verb.permission().is_none_or(|needed| held == "*" || held == needed);
            let code = call(&server, path, Some(held)).await;
            assert_eq!(code == Code::PermissionDenied, !may, "{path} with {held}: {code:?}");
            // The cluster of one in memory, which answers here, has no membership to change.
            let answered = code != Code::Unimplemented || path.contains(".Membership/");
            assert!(answered && code != Code::Unauthenticated, "{path} with {held}: {code:?}");
        }
        for (method, path, verb) in ROUTES.iter().filter(|(.., verb)| *verb != Verb::Login) {
            let may = verb.permission().is_none_or(|needed| held == "*" || held == needed);
            let status = route(&server, method, path, Some(held)).await;
            assert_eq!(status == StatusCode::FORBIDDEN, !may, "{method} {path} with {held}: {status}");
            assert!(
                !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::METHOD_NOT_ALLOWED),
                "{method} {path} with {held}: {status}"
            );
        }
    }
}

#[tokio::test]
async fn no_route_answers_without_a_token() {
    let server = Server::start().await;
    for (method, path, _) in ROUTES {
        assert_eq!(route(&server, method, path, None).await, StatusCode::UNAUTHORIZED, "{method} {path}");
        assert_eq!(route(&server, method, path, Some("guess")).await, StatusCode::UNAUTHORIZED, "{method} {path}");
    }
}

/// Who may do what, in words: a change of the table shows here.
#[test]
fn the_table_says_what_is_written_down() {
    let calls = CALLS.iter().map(|(path, verb)| format!("{path} {}\n", verb.permission().unwrap_or("-")));
    let routes =
        ROUTES.iter().map(|(method, path, verb)| format!("{method} {path} {}\n", verb.permission().unwrap_or("-")));
    let now: String = calls.chain(routes).collect();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/access.txt");
    if std::env::var_os("FLOTILLA_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &now).expect("written");
    }
    let written = std::fs::read_to_string(&path).expect("the table");
    assert_eq!(written, now, "who may do what has changed: FLOTILLA_WRITE_GOLDEN=1 writes it down");
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

#[tokio::test]
async fn a_token_that_a_new_cluster_has_yet_to_put_is_waited_for_and_a_wrong_one_still_refused() {
    let server = Server::without_tokens(([127, 0, 0, 1], 0).into(), None).await;
    let mut judged = server.cluster.barriers.subscribe();
    let set_up = async {
        judged.wait_for(|barriers| *barriers == 2).await.expect("the cluster stays");
        server.token(ROOT, &["*"]);
    };
    let (right, wrong, ()) = tokio::join!(
        route(&server, "GET", "/users", Some(ROOT)),
        route(&server, "GET", "/users", Some("guess")),
        set_up
    );
    assert_eq!((right, wrong), (StatusCode::OK, StatusCode::UNAUTHORIZED));
}
