//! REST under `/api/v2`, with the wire names that SFTPGo's clients know.

mod cluster;
mod connections;
mod document;
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

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use flotilla_model::{AdminSpec, FolderSpec, GroupSpec, RoleSpec};
use tokio_util::sync::CancellationToken;

use crate::access::{self, Verb};
use crate::error::{ApiError, Code};
use crate::service::identity::Origin;
use crate::service::{Caller, Service};
use document::{Method, Routes};
pub(crate) use reply::{Changing, Failed, Once, Reading};
use shape::Shape;

/// All routes that need a token, with what the document says of them.
fn described() -> Routes {
    use Method::{Delete, Get, Post, Put};
    let routes = Routes::new()
        .route(Get, "/version", "The version of the node that answers", cluster::version)
        .route(Get, "/status", "Services, and how far the node is", cluster::status)
        .route(Get, "/cluster", "Nodes, leader, indices; answers without a quorum too", cluster::cluster)
        .route(Get, "/token", "A token for an admin's password, good at every node", tokens::token)
        .route(Get, "/logout", "Ends the token that the call was made with", tokens::logout)
        .route(Get, "/apikeys", "API keys", tokens::list)
        .route(Post, "/apikeys", "Makes an API key and shows it once", tokens::create)
        .route(Get, "/apikeys/{id}", "An API key", tokens::get)
        .route(Put, "/apikeys/{id}", "Replaces what is said of an API key", tokens::replace)
        .route(Delete, "/apikeys/{id}", "Deletes an API key", tokens::delete)
        .route(Get, "/events", "The history, a page or a stream", events::events)
        .route(Get, "/dumpdata", "All records with their passwords' hashes", dump::dump)
        .route(Post, "/loaddata", "Loads a dump, checked as a whole first", dump::load)
        .route(Get, "/users", "Users", users::list)
        .route(Post, "/users", "Makes a user", users::create)
        .route(Get, "/users/{username}", "A user", users::get)
        .route(Put, "/users/{username}", "Replaces a user", users::replace)
        .route(Delete, "/users/{username}", "Deletes a user and ends its sessions", users::delete)
        .route(Get, "/connections", "Sessions of all nodes", connections::list)
        .route(Delete, "/connections/{id}", "Ends a session", connections::kill)
        .route(Get, "/quotas/users/scans", "Scans that wait or run", quotas::scans)
        .route(Post, "/quotas/users/{username}/scan", "Asks for a scan of a user's quota", quotas::scan)
        .route(Put, "/quotas/users/{username}/usage", "Not served: usage is counted", quotas::usage)
        .route(Put, "/quotas/users/{username}/transfer-usage", "Not served: usage is counted", quotas::usage);
    let routes = records::<AdminSpec>(routes);
    let routes = records::<GroupSpec>(routes);
    let routes = records::<FolderSpec>(routes);
    records::<RoleSpec>(routes)
}

fn records<S: Shape>(routes: Routes) -> Routes {
    let (path, word) = (records::path::<S>(), S::KIND.word());
    let (all, one) = (format!("/{path}"), format!("/{path}/{{{}}}", S::KEY));
    routes
        .route(Method::Get, &all, &format!("All: {path}"), records::list::<S>)
        .route(Method::Post, &all, &format!("Makes: {word}"), records::create::<S>)
        .route(Method::Get, &one, &format!("One {word}"), records::get::<S>)
        .route(Method::Put, &one, &format!("Replaces one {word}"), records::replace::<S>)
        .route(Method::Delete, &one, &format!("Deletes one {word}"), records::delete::<S>)
}

/// The OpenAPI 3.1 document of this interface.
pub fn openapi() -> serde_json::Value {
    described().document(BASE, DOCUMENT)
}

/// Under the base; anybody may read it.
const DOCUMENT: &str = "/openapi.json";

static WRITTEN: LazyLock<Bytes> = LazyLock::new(|| openapi().to_string().into());

async fn document(State(service): State<Arc<Service>>) -> Response {
    let index = service.applied_index().to_string();
    let headers = [(header::CONTENT_TYPE, "application/json".to_owned()), (reply::LOG_INDEX, index)];
    (headers, WRITTEN.clone()).into_response()
}

/// All routes.
pub(crate) fn routes(service: Arc<Service>, ending: CancellationToken) -> Router {
    let api = described()
        .router()
        .fallback(async || Failed(ApiError::not_found("no such route")))
        .method_not_allowed_fallback(async || {
            Failed(ApiError::new(Code::MethodNotAllowed, "this route does not know that method"))
        })
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&service), authenticate))
        .layer(axum::Extension(ending))
        .with_state(Arc::clone(&service));
    let open = Router::new().route(&format!("{BASE}{DOCUMENT}"), get(document)).with_state(service);
    Router::new().nest(BASE, api).merge(open)
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
