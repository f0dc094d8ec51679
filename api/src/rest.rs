//! REST under `/api/v2`, with the wire names that SFTPGo's clients know.

mod cluster;
mod connections;
mod dump;
mod events;
mod json;
mod page;
mod quotas;
mod records;
mod reply;
mod shape;
mod tokens;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use flotilla_model::{AdminSpec, FolderSpec, GroupSpec, RoleSpec};
use tokio_util::sync::CancellationToken;

use crate::access::{self, Verb};
use crate::error::{ApiError, Code};
use crate::service::identity::Origin;
use crate::service::{Caller, Service};
pub(crate) use reply::{Failed, Marks};
use shape::Shape;

/// Bytes of a request's body.
const MAX_BODY: usize = 1 << 20;

/// All routes that need a token.
pub(crate) fn routes(service: Arc<Service>, ending: CancellationToken) -> Router {
    let api = Router::new()
        .route("/version", get(cluster::version))
        .route("/status", get(cluster::status))
        .route("/token", get(tokens::token))
        .route("/logout", get(tokens::logout))
        .route("/apikeys", get(tokens::list).post(tokens::create))
        .route("/apikeys/{id}", get(tokens::get).put(tokens::replace).delete(tokens::delete))
        .route("/events", get(events::events))
        .route("/dumpdata", get(dump::dump))
        .route("/loaddata", post(dump::load).layer(DefaultBodyLimit::max(dump::MAX_LOAD)))
        .merge(records::<AdminSpec>())
        .merge(records::<GroupSpec>())
        .merge(records::<FolderSpec>())
        .merge(records::<RoleSpec>())
        .route("/cluster", get(cluster::cluster))
        .route("/users", get(users::list).post(users::create))
        .route("/users/{username}", get(users::get).put(users::replace).delete(users::delete))
        .route("/connections", get(connections::list))
        .route("/connections/{id}", delete(connections::kill))
        .route("/quotas/users/scans", get(quotas::scans))
        .route("/quotas/users/{username}/scan", post(quotas::scan))
        .route("/quotas/users/{username}/usage", put(quotas::usage))
        .route("/quotas/users/{username}/transfer-usage", put(quotas::usage))
        .fallback(async || Failed(ApiError::not_found("no such route")))
        .method_not_allowed_fallback(async || {
            Failed(ApiError::new(Code::MethodNotAllowed, "this route does not know that method"))
        })
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&service), authenticate))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::Extension(ending))
        .with_state(service);
    Router::new().nest(BASE, api)
}

fn records<S: Shape>() -> Router<Arc<Service>> {
    let one = get(records::get::<S>).put(records::replace::<S>).delete(records::delete::<S>);
    Router::new()
        .route(&format!("/{}", S::PATH), get(records::list::<S>).post(records::create::<S>))
        .route(&format!("/{}/{{{}}}", S::PATH, S::KEY), one)
}

const BASE: &str = "/api/v2";

/// Every route asks for a bearer token and for the permission that `access.rs` names.
async fn authenticate(State(service): State<Arc<Service>>, mut request: Request, next: Next) -> Response {
    let verb = verb(&request);
    let origin = Origin::of(request.extensions());
    let mut response = match caller(&service, request.headers(), &origin, verb).await {
        Ok(caller) => {
            request.extensions_mut().insert::<Caller>(caller);
            next.run(request).await
        }
        Err(error) => Failed(error).into_response(),
    };
    // What did not come out of the log holds at what this node has applied.
    let index = service.applied_index().into();
    response.headers_mut().entry("flotilla-log-index").or_insert(index);
    response
}

/// `None`: no such route or method; the fallbacks say so.
fn verb(request: &Request) -> Result<Option<Verb>, ApiError> {
    let path = request.extensions().get::<MatchedPath>().and_then(|path| path.as_str().strip_prefix(BASE));
    path.map_or(Ok(None), |path| verb_of(request.method().as_str(), path))
}

/// A route that somebody added without a row in the table is refused, whoever asks.
fn verb_of(method: &str, path: &str) -> Result<Option<Verb>, ApiError> {
    if access::ROUTES.iter().any(|(_, known, _)| *known == path) {
        return Ok(access::route(method, path));
    }
    Err(ApiError::new(Code::Internal, format!("{path} has no row in the table of permissions")))
}

async fn caller(
    service: &Service,
    headers: &HeaderMap,
    origin: &Origin,
    verb: Result<Option<Verb>, ApiError>,
) -> Result<Caller, ApiError> {
    let verb = verb?;
    let caller = service.identify(headers, origin, verb).await?;
    if let Some(verb) = verb {
        caller.may(verb)?;
    }
    Ok(caller)
}

/// For what stands beside `/api/v2`.
pub(crate) async fn admit(service: &Service, headers: &HeaderMap, origin: &Origin, verb: Verb) -> Result<(), Failed> {
    caller(service, headers, origin, Ok(Some(verb))).await.map(|_| ()).map_err(Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_without_a_row_in_the_table_is_refused_and_an_unknown_method_is_left_to_its_fallback() {
        assert!(verb_of("GET", "/secrets").is_err());
        assert_eq!(verb_of("PATCH", "/users").ok().flatten(), None);
        assert_eq!(verb_of("HEAD", "/users").ok().flatten(), Some(Verb::ListUsers));
    }
}
