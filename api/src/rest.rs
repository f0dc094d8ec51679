//! REST under `/api/v2`, with the wire names that SFTPGo's clients know.

mod connections;
mod cluster;
mod json;
mod quotas;
mod reply;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};

use crate::error::{ApiError, Code};
use crate::service::{Caller, Service};
pub(crate) use reply::{Failed, Marks};

/// Bytes of a request's body.
const MAX_BODY: usize = 1 << 20;

/// All routes that need a token.
pub(crate) fn routes(service: Arc<Service>) -> Router {
    let api = Router::new()
        .route("/version", get(cluster::version))
        .route("/status", get(cluster::status))
        .route("/token", get(cluster::token))
        .route("/cluster", get(cluster::cluster))
        .route("/users", get(users::list).post(users::create))
        .route("/users/{username}", get(users::get).put(users::replace).delete(users::delete))
        .route("/connections", get(connections::list))
        .route("/connections/{id}", delete(connections::kill))
        .route("/quotas/users/scans", get(quotas::scans))
        .route("/quotas/users/{username}/scan", post(quotas::scan))
        .fallback(async || Failed(ApiError::not_found("no such route")))
        .method_not_allowed_fallback(async || Failed(ApiError::invalid("this route does not know that method")))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&service), authenticate))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(service);
    Router::new().nest("/api/v2", api)
}

/// Every route asks for a bearer token; what it may do is decided in the service.
async fn authenticate(State(service): State<Arc<Service>>, mut request: Request, next: Next) -> Response {
    let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let Some(token) = header.and_then(|text| text.strip_prefix("Bearer ")).map(|token| token.trim().to_owned()) else {
        let error = ApiError::new(Code::Unauthenticated, "a bearer token is needed: Authorization: Bearer TOKEN");
        return Failed(error).into_response();
    };
    match service.authenticate(&token).await {
        Ok(caller) => {
            request.extensions_mut().insert::<Caller>(caller);
            next.run(request).await
        }
        Err(error) => Failed(error).into_response(),
    }
}
