//! `/quotas/users`: scans.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::reply::{answer, changed};
use super::{Failed, Marks};
use crate::service::{Caller, Service};

pub(super) async fn scan(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    Path(username): Path<String>,
) -> Result<Response, Failed> {
    let done = service.want_scan(&caller, marks.request_id, &username).await?;
    Ok(changed(StatusCode::ACCEPTED, &done, json!({"message": "Scan started"})))
}

pub(super) async fn scans(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Failed> {
    let names = service.scans(&caller).await?;
    let rows = names.into_iter().map(|name| json!({"username": name, "start_time": 0})).collect();
    let index = service.state(true).await?.applied_index();
    Ok(answer(StatusCode::OK, index, Value::Array(rows)))
}
