//! `limit`, `offset` and `order` of a list, and the body of a request: what is wrong is said as every error is.

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Failed;
use super::document::{Described, Operation};
use crate::error::{ApiError, Code};
use crate::service::users::MAX_PAGE;

/// Which rows of a list.
pub(crate) struct Page {
    pub offset: usize,
    pub limit: usize,
    pub descending: bool,
}

impl Page {
    pub(crate) fn parts(&self) -> (usize, usize, bool) {
        (self.offset, self.limit, self.descending)
    }
}

/// The query, typed; names that nobody knows are ignored, as SFTPGo does.
pub(crate) struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failed> {
        let read = Query::<T>::try_from_uri(&parts.uri);
        let invalid = |error: QueryRejection| ApiError::invalid(format!("query: {}", error.body_text()));
        read.map(|Query(read)| Asked(read)).map_err(|error| invalid(error).into())
    }
}

impl<T: JsonSchema> Described for Asked<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.query::<T>();
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(default)]
struct PageQuery {
    /// Rows to skip.
    offset: usize,
    /// At most 500.
    limit: usize,
    /// By name.
    #[schemars(extend("enum" = ["ASC", "DESC"]))]
    order: String,
}

impl Described for Page {
    fn describe(operation: &mut Operation<'_>) {
        operation.query::<PageQuery>();
    }
}

impl Default for PageQuery {
    fn default() -> Self {
        PageQuery { offset: 0, limit: 100, order: "ASC".into() }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failed> {
        let Asked(PageQuery { offset, limit, order }) = Asked::from_request_parts(parts, state).await?;
        let descending = match order.as_str() {
            "ASC" => false,
            "DESC" => true,
            other => return Err(ApiError::field("order", format_args!("{other:?}: ASC or DESC")).into()),
        };
        // As SFTPGo, silently.
        Ok(Page { offset, limit: limit.min(MAX_PAGE), descending })
    }
}

/// What a request's body is read into.
pub(crate) trait Received: Sized {
    /// Bytes of a body.
    const MOST: usize = 1 << 20;

    fn receive(body: Value) -> Result<Self, ApiError>;
}

/// The body of a request, read and typed.
pub(crate) struct Sent<T>(pub T);

impl<T: Received, S: Send + Sync> FromRequest<S> for Sent<T> {
    type Rejection = Failed;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Failed> {
        let body = Limited::new(request.into_body(), T::MOST).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return ApiError::new(Code::TooLarge, format!("body: at most {} MiB", T::MOST >> 20));
            }
            ApiError::invalid(format!("body: {error}"))
        })?;
        Ok(Sent(T::receive(value(&body.to_bytes())?)?))
    }
}

impl<T: JsonSchema> Described for Sent<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.body::<T>();
    }
}

/// JSON of a body, whatever it holds.
fn value(bytes: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| ApiError::invalid(format!("body: {error}")))
}

/// Says which field was wrong.
pub(crate) fn typed<T: DeserializeOwned>(body: Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(body).map_err(|error| match error.path().to_string() {
        path if path == "." => ApiError::invalid(format!("body: {}", error.inner())),
        path => ApiError::field(path, error.inner()),
    })
}
