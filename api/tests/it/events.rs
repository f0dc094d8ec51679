//! The history over both interfaces: who, from where, before and after; resumable, never silently short.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use flotilla_cluster::Cluster as _;
use flotilla_model::Command;
use flotilla_model::command::PutToken;
use flotilla_proto::admin::v1;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tonic::Code;

use crate::fixture::Server;

async fn watch(server: &Server, since: Option<u64>, resume_token: &str) -> tonic::Streaming<v1::Event> {
    let request = v1::WatchEventsRequest { since, resume_token: resume_token.into() };
    server.events().watch_events(request).await.expect("a stream").into_inner()
}

async fn next(events: &mut tonic::Streaming<v1::Event>) -> v1::Event {
    events.message().await.expect("no error").expect("an event")
}

#[tokio::test]
async fn an_event_says_who_from_where_before_and_after_without_secrets() {
    let server = Server::start().await;
    server.add("alice").await;
    let body = json!({"permissions": {"/": ["list"]}, "password": "new secret", "max_sessions": 3});
    assert_eq!(server.send(Method::PUT, "/users/alice", &body).await.status, StatusCode::OK);
    let page = server.get("/events").await.json();
    let last = page["events"].as_array().expect("a list").last().expect("an event").clone();
    assert_eq!((&last["kind"], &last["object_name"]), (&json!("user_updated"), &json!("alice")));
    assert_eq!(last["actor"], "admin token root");
    assert!(last["source"].as_str().expect("a text").parse::<std::net::SocketAddr>().is_ok(), "{last}");
    let changes = json!([
        {"field": "password", "before": "null", "after": "\"[redacted]\""},
        {"field": "max_sessions", "before": "0", "after": "3"},
        {"field": "permissions", "before": "{\"/\":[\"*\"]}", "after": "{\"/\":[\"list\"]}"},
    ]);
    assert_eq!(last["changes"], changes);
    assert!(!page.to_string().contains("argon2id") && !page.to_string().contains("new secret"));
    // The same over gRPC.
    let request = v1::ListEventsRequest { page_size: 1000, ..Default::default() };
    let listed = server.events().list_events(request).await.expect("listed").into_inner();
    let event = listed.events.last().expect("an event");
    assert_eq!(json!(event.number), last["number"]);
    assert_eq!((event.kind.as_str(), json!(event.resume_token)), ("user_updated", last["resume_token"].clone()));
    assert_eq!(event.changes.len(), 3);
    assert_eq!(event.source, last["source"].as_str().expect("a text"));
    let numbers: Vec<u64> = listed.events.iter().map(|event| event.number).collect();
    let dense: Vec<u64> = (numbers[0]..numbers[0] + numbers.len() as u64).collect();
    assert_eq!(numbers, dense);
}

#[tokio::test]
async fn a_stream_goes_on_where_a_token_says_and_with_what_comes() {
    let server = Server::start().await;
    let mut now = watch(&server, None, "").await;
    server.add("a").await;
    server.add("b").await;
    let (first, second) = (next(&mut now).await, next(&mut now).await);
    assert_eq!((first.object_name.as_str(), second.object_name.as_str()), ("a", "b"));
    let mut resumed = watch(&server, None, &first.resume_token).await;
    assert_eq!(next(&mut resumed).await, second);
    let mut all = watch(&server, Some(0), "").await;
    assert_eq!(next(&mut all).await.number, 1);
    server.add("c").await;
    assert_eq!(next(&mut resumed).await.object_name, "c");
    let page = server.get(&format!("/events?resume_token={}", second.resume_token)).await.json();
    assert_eq!((page["events"].as_array().map(Vec::len), &page["events"][0]["object_name"]), (Some(1), &json!("c")));
}

#[tokio::test]
async fn a_token_of_another_cluster_or_history_or_of_the_future_is_an_error() {
    let server = Server::start().await;
    let last = server.get("/events").await.json()["resume_token"].as_str().expect("a token").to_owned();
    let parts: Vec<&str> = last.rsplitn(3, '.').collect();
    let (hash, number, cluster) = (parts[0], parts[1], parts[2]);
    let cases = [
        (format!("other.{number}.{hash}"), Code::FailedPrecondition, 409),
        (format!("{cluster}.{number}.{}", "0".repeat(64)), Code::FailedPrecondition, 409),
        (format!("{cluster}.999999.{hash}"), Code::InvalidArgument, 400),
        ("guess".to_owned(), Code::InvalidArgument, 400),
    ];
    for (token, code, status) in cases {
        let request = v1::WatchEventsRequest { since: None, resume_token: token.clone() };
        assert_eq!(server.events().watch_events(request).await.expect_err("refused").code(), code, "{token}");
        assert_eq!(server.get(&format!("/events?resume_token={token}")).await.status.as_u16(), status, "{token}");
    }
}

#[tokio::test]
async fn what_is_no_longer_kept_is_told_and_not_passed_over() {
    let server = Server::start().await;
    let mut slow = watch(&server, Some(0), "").await;
    next(&mut slow).await;
    for number in 0..10_100_u32 {
        let hash = std::array::from_fn(|at| number.to_le_bytes()[at % 4] ^ (at as u8 / 4));
        let token = PutToken { name: "t".into(), hash, permissions: vec![], expires_at: 0, replace: true };
        server.cluster.local.apply(Command::PutToken(token)).reply.expect("taken");
    }
    let through = server.cluster.state().events_compacted_through();
    assert!(through > 1);
    let old = server.get("/events?since=1").await;
    assert_eq!((old.status, old.json()["code"].as_str()), (StatusCode::GONE, Some("events_compacted")));
    let request = v1::ListEventsRequest { since: 1, ..Default::default() };
    let status = server.events().list_events(request).await.expect_err("gone");
    assert_eq!(status.code(), Code::OutOfRange);
    assert!(status.message().contains(&through.to_string()), "{}", status.message());
    let beginning = server.get("/events").await.json();
    assert_eq!(beginning["events"][0]["number"], through + 1);
    assert_eq!(beginning["compacted_through"], through);
    // The stream was given what had been taken out of the state, then the end, never a gap.
    let mut expected = 2;
    let end = loop {
        match slow.message().await {
            Ok(Some(event)) => {
                assert_eq!(event.number, expected);
                expected += 1;
            }
            Ok(None) => panic!("ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::OutOfRange, "{end}");
}

#[tokio::test]
async fn a_stream_ends_when_its_token_is_revoked() {
    let server = Server::start().await;
    server.token("watcher", &["view_events"]);
    let mut events = v1::events_client::EventsClient::new(server.channel.clone());
    let mut request = tonic::Request::new(v1::WatchEventsRequest::default());
    request.metadata_mut().insert("authorization", "Bearer watcher".parse().expect("ASCII"));
    let mut stream = events.watch_events(request).await.expect("a stream").into_inner();
    let request = v1::DeleteTokenRequest { name: "token watcher".into(), ..Default::default() };
    server.tokens().delete_token(request).await.expect("deleted");
    assert_eq!(stream.message().await.expect_err("ended").code(), Code::Unauthenticated);
}

#[tokio::test]
async fn server_sent_events_carry_the_resume_token_as_their_id() {
    let server = Server::start().await;
    let stream = async |headers: &[(&str, &str)], path: &str| {
        let mut request = axum::http::Request::get(format!("http://{}/api/v2/events{path}", server.address))
            .header("authorization", format!("Bearer {}", crate::fixture::ROOT))
            .header("accept", "text/event-stream");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
        client.request(request.body(Body::empty()).expect("a request")).await.expect("an answer")
    };
    // Reads until the text holds what is looked for; an event may come in pieces.
    async fn read(response: &mut axum::http::Response<hyper::body::Incoming>, wanted: &str) -> String {
        let mut text = String::new();
        while !text.contains(wanted) {
            let frame = response.frame().await.expect("more").expect("no error");
            text.push_str(&String::from_utf8_lossy(frame.data_ref().expect("data")));
        }
        text
    }
    let mut response = stream(&[], "?since=0").await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = read(&mut response, "\n\n").await;
    assert!(text.contains("event: cluster_initialised\n"), "{text}");
    let id = text.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id").to_owned();
    let mut resumed = stream(&[("last-event-id", &id)], "").await;
    let text = read(&mut resumed, "\n\n").await;
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
    let event: Value = serde_json::from_str(data).expect("JSON");
    assert_eq!(event["number"], 2);
    assert_eq!(stream(&[("last-event-id", "guess")], "").await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn sessions_are_watched_from_a_complete_view_on() {
    let server = Server::start().await;
    server.add("erin").await;
    server.add("fred").await;
    let first = server.log_in("erin");
    let other = server.log_in("fred");
    let request = v1::WatchSessionsRequest { username: "erin".into() };
    let mut stream = server.sessions().watch_sessions(request).await.expect("a stream").into_inner();
    let mut message = async || stream.message().await.expect("no error").expect("a message");
    let view = message().await;
    assert!(view.complete);
    assert_eq!((view.sessions.len(), view.sessions[0].id.as_str()), (1, first.to_string().as_str()));
    let second = server.log_in("erin");
    let opened = message().await;
    assert_eq!((opened.sessions[0].id.as_str(), opened.complete), (second.to_string().as_str(), false));
    let killed = server.call(Method::DELETE, &format!("/connections/{second}"), &[], Body::empty()).await;
    assert_eq!(killed.status, StatusCode::OK);
    let cut = message().await;
    assert_eq!(cut.sessions[0].cut_reason, "Killed");
    server.cluster.local.register();
    let ended = message().await;
    assert_eq!(ended.ended, [first.to_string(), second.to_string()]);
    assert!(!ended.ended.contains(&other.to_string()), "only those asked for");
}
