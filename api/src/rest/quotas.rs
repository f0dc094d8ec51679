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
    let (state, users) = service.scans(&caller).await?;
    let row = |user: &Arc<flotilla_model::User>| json!({"username": user.username.as_str(), "start_time": 0});
    Ok(answer(StatusCode::OK, state.applied_index(), Value::Array(users.iter().map(row).collect())))
}
