//! `/admins`, `/groups`, `/folders`, `/roles`: the same five routes on four shapes.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use flotilla_model::{Kept, Name};
use serde_json::{Value, json};

use super::page::{Page, value, whole};
use super::reply::{answer, changed, with_revision};
use super::shape::Shape;
use super::{Failed, Marks};
use crate::error::ApiError;
use crate::service::{Caller, Service};

type Body = Result<Bytes, BytesRejection>;

pub(super) async fn list<S: Shape>(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    page: Page,
) -> Result<Response, Failed> {
    let (state, rows) = service.records::<S>(&caller, page.parts(), marks.stale).await?;
    let rows: Vec<Value> = rows.iter().map(|row| S::show(&caller, &state, row)).collect();
    Ok(answer(StatusCode::OK, state.applied_index(), Value::Array(rows)))
}

pub(super) async fn get<S: Shape>(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    Path(name): Path<String>,
) -> Result<Response, Failed> {
    let (state, row): (_, Arc<Kept<S>>) = service.record(&caller, &name, marks.stale).await?;
    Ok(with_revision(answer(StatusCode::OK, state.applied_index(), S::show(&caller, &state, &row)), row.revision))
}

pub(super) async fn create<S: Shape>(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    body: Body,
) -> Result<Response, Failed> {
    let (name, spec) = S::read(&service, value(&whole(body, "1 MiB")?)?).await?;
    let name = named::<S>(&name)?;
    let (created, state, row) = service.create_record::<S>(&caller, marks.request_id, name.clone(), spec).await?;
    let shown = S::show(&caller, &state, &row);
    let mut response = with_revision(changed(StatusCode::CREATED, &created, shown), row.revision);
    if let Ok(location) = HeaderValue::from_str(&format!("/api/v2/{}/{name}", S::PATH)) {
        response.headers_mut().insert("location", location);
    }
    Ok(response)
}

pub(super) async fn replace<S: Shape>(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    Path(name): Path<String>,
    body: Body,
) -> Result<Response, Failed> {
    let name = named::<S>(&name)?;
    let (given, spec) = S::read(&service, value(&whole(body, "1 MiB")?)?).await?;
    if !given.is_empty() && given != name.as_str() {
        return Err(ApiError::field(S::KEY, "it cannot be renamed").into());
    }
    let done = service.replace_record::<S>(&caller, marks.request_id, name, marks.expected_revision, spec).await?;
    Ok(changed(StatusCode::OK, &done, json!({"message": format!("{} updated", S::WORD)})))
}

pub(super) async fn delete<S: Shape>(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    Path(name): Path<String>,
) -> Result<Response, Failed> {
    let name = named::<S>(&name)?;
    let done = service.delete_record::<S>(&caller, marks.request_id, name, marks.expected_revision).await?;
    Ok(changed(StatusCode::OK, &done, json!({"message": format!("{} deleted", S::WORD)})))
}

pub(super) fn named<S: Shape>(name: &str) -> Result<Name, ApiError> {
    Name::parse(name).map_err(|error| ApiError::field(S::KEY, error.reason))
}
