//! Health, readiness, metrics and reflection on the admin listener, and where it may listen.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde_json::json;
use tokio_stream::StreamExt;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::cluster::Switched;
use crate::fixture::{ROOT, Server, bind};

#[tokio::test]
async fn readiness_tells_its_reasons_to_anybody_and_liveness_is_another_thing() {
    let server = Server::start().await;
    let get = async |path: &'static str| server.bare(Method::GET, path, &[], Body::empty()).await;
    assert_eq!(get("/livez").await.status, StatusCode::OK);
    let ready = get("/readyz").await;
    assert_eq!((ready.status, ready.json()), (StatusCode::OK, json!({"ready": true, "reasons": []})));
    *server.readiness.0.lock().expect("no panic") = vec!["draining".into()];
    let busy = get("/readyz").await;
    assert_eq!(busy.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(busy.json(), json!({"ready": false, "reasons": ["draining"]}));
    assert_eq!(get("/livez").await.status, StatusCode::OK);
    assert_eq!(get("/metrics").await.status, StatusCode::OK);
}

#[tokio::test]
async fn grpc_health_follows_readiness_without_a_token() {
    let server = Server::start().await;
    let mut health = HealthClient::new(server.channel.clone());
    let whole = HealthCheckRequest { service: String::new() };
    let mut watched = health.watch(whole.clone()).await.expect("watching").into_inner();
    let mut next = async || watched.next().await.expect("an answer").expect("no error").status();
    assert_eq!(next().await, ServingStatus::Serving);
    *server.readiness.0.lock().expect("no panic") = vec!["draining".into()];
    assert_eq!(health.check(whole).await.expect("an answer").into_inner().status(), ServingStatus::NotServing);
    assert_eq!(next().await, ServingStatus::NotServing);
    let named = HealthCheckRequest { service: "flotilla.admin.v1.Users".into() };
    health.check(named).await.expect("a service of this listener");
    let unknown = HealthCheckRequest { service: "flotilla.admin.v1.Nothing".into() };
    assert_eq!(health.check(unknown).await.expect_err("unknown").code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn a_watcher_does_not_keep_a_stopping_listener() {
    let mut server = Server::start().await;
    let mut health = HealthClient::new(server.channel.clone());
    let mut watched = health.watch(HealthCheckRequest::default()).await.expect("watching").into_inner();
    watched.next().await.expect("an answer").expect("no error");
    server.stop.cancel();
    assert!(watched.next().await.is_none(), "the stream ends");
    (&mut server.running).await.expect("no panic").expect("no error");
}

#[tokio::test]
async fn reflection_lists_the_services_to_those_with_a_token() {
    let server = Server::start().await;
    let bearer = move |mut request: tonic::Request<()>| {
        request.metadata_mut().insert("authorization", format!("Bearer {ROOT}").parse().expect("ASCII"));
        Ok(request)
    };
    let mut reflection = ServerReflectionClient::with_interceptor(server.channel.clone(), bearer);
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let asked = tokio_stream::once(ServerReflectionRequest { host: String::new(), message_request });
    let mut answers = reflection.server_reflection_info(asked).await.expect("answers").into_inner();
    let answer = answers.next().await.expect("one").expect("no error");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for service in ["Users", "Sessions", "Quotas", "Cluster", "Tokens"] {
        assert!(names.contains(&format!("flotilla.admin.v1.{service}").as_str()), "{names:?}");
    }
}

#[tokio::test]
async fn without_tls_it_listens_on_loopback_only() {
    let error = bind(Switched::start(), ([0, 0, 0, 0], 0).into(), None).await.err().expect("refused");
    assert!(error.to_string().contains("admin.listen 0.0.0.0:0"), "{error}");
    let taken = Server::start().await;
    let error = bind(Switched::start(), taken.address, None).await.err().expect("occupied");
    assert!(error.to_string().contains(&taken.address.to_string()), "{error}");
}
