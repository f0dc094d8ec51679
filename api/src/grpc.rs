//! gRPC: `flotilla.admin.v1` over the service layer, health and reflection. The same listener as REST.

mod backups;
mod cluster;
mod events;
mod health;
mod membership;
mod progress;
mod quotas;
mod records;
mod reply;
mod sessions;
mod tokens;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flotilla_proto::FILE_DESCRIPTOR_SET;
use flotilla_proto::admin::v1;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;

use crate::access;
use crate::error::{ApiError, Code};
use crate::server::Readiness;
use crate::service::identity::Origin;
use crate::service::{Caller, Service};

/// Bytes of a request.
const MAX_MESSAGE: usize = 1 << 20;

/// The calls of administration, one implementation for all services.
#[derive(Clone)]
struct Admin {
    service: Arc<Service>,
    /// Ends the streams: a listener that drains waits for them.
    ending: CancellationToken,
}

/// All calls: administration and reflection ask for a token, health does not.
pub(crate) fn routes(service: Arc<Service>, readiness: Arc<dyn Readiness>, ending: CancellationToken) -> Router {
    let admin = || Admin { service: Arc::clone(&service), ending: ending.clone() };
    let limit = MAX_MESSAGE;
    let routes = Routes::default()
        .add_service(v1::users_server::UsersServer::new(admin()).max_decoding_message_size(limit))
        .add_service(v1::sessions_server::SessionsServer::new(admin()).max_decoding_message_size(limit))
        .add_service(v1::quotas_server::QuotasServer::new(admin()).max_decoding_message_size(limit))
        .add_service(v1::cluster_server::ClusterServer::new(admin()).max_decoding_message_size(limit))
        .add_service(v1::admins_server::AdminsServer::new(admin()).max_decoding_message_size(limit))
        .add_service(v1::groups_server::GroupsServer::new(admin()).max_decoding_message_size(limit))
        .add_service(v1::folders_server::FoldersServer::new(admin()).max_decoding_message_size(limit))
        .add_service(v1::roles_server::RolesServer::new(admin()).max_decoding_message_size(limit))
        .add_service(v1::events_server::EventsServer::new(admin()).max_decoding_message_size(limit))
        .add_service(v1::tokens_server::TokensServer::new(admin()).max_decoding_message_size(limit))
        .add_service(v1::backups_server::BackupsServer::new(admin()).max_decoding_message_size(limit))
        .add_service(v1::membership_server::MembershipServer::new(admin()).max_decoding_message_size(limit))
        .add_service(reflection_v1())
        .add_service(reflection_v1alpha());
    let guarded =
        routes.into_axum_router().reset_fallback().layer(axum::middleware::from_fn_with_state(service, authenticate));
    let health =
        Routes::new(HealthServer::new(health::Health::new(readiness, ending))).into_axum_router().reset_fallback();
    guarded.merge(health)
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

fn reflection_v1()
-> tonic_reflection::server::v1::ServerReflectionServer<impl tonic_reflection::server::v1::ServerReflection> {
    reflection().build_v1().expect("the descriptor set is checked in and a test reads it")
}

/// Older clients speak only this one.
fn reflection_v1alpha()
-> tonic_reflection::server::v1alpha::ServerReflectionServer<impl tonic_reflection::server::v1alpha::ServerReflection> {
    reflection().build_v1alpha().expect("the descriptor set is checked in and a test reads it")
}

/// A call that is not in the table of `access.rs` is refused, whoever asks.
async fn authenticate(State(service): State<Arc<Service>>, mut request: Request, next: Next) -> Response {
    let origin = Origin::of(request.extensions());
    match caller(&service, request.headers(), &origin, request.uri().path()).await {
        Ok(caller) => {
            request.extensions_mut().insert::<Caller>(caller);
            next.run(request).await
        }
        Err(error) => tonic::Status::from(error).into_http::<tonic::body::Body>().into_response(),
    }
}

async fn caller(service: &Service, headers: &HeaderMap, origin: &Origin, path: &str) -> Result<Caller, ApiError> {
    let verb = access::call(path);
    let caller = service.identify(headers, origin, verb).await?;
    let verb = verb.ok_or_else(|| ApiError::new(Code::Unsupported, format!("no such call: {path}")))?;
    caller.may(verb)?;
    Ok(caller)
}
