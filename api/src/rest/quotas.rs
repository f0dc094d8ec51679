//! `/quotas/users`: scans.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::page::Asked;
use super::reply::{answer, changed};
use super::{Failed, Marks};
use crate::error::{ApiError, Code};
use crate::service::{Caller, Service};

pub(super) async fn scan(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    Path(username): Path<String>,
    Asked(how): Asked<How>,
) -> Result<Response, Failed> {
    let force = match how.force.as_deref() {
        None | Some("0" | "false") => false,
        Some("1" | "true") => true,
        Some(_) => return Err(ApiError::field("force", "0 or 1 is expected").into()),
    };
    let done = service.want_scan(&caller, marks.request_id, &username, force).await?;
    Ok(changed(StatusCode::ACCEPTED, &done, json!({"message": "Scan started"})))
}

/// `?force=1`: do not wait for processes of stopped nodes.
#[derive(serde::Deserialize)]
pub(super) struct How {
    force: Option<String>,
}

/// SFTPGo lets callers set what is used; here it is what nodes have counted, and a wrong number would be a hole in the quota.
pub(super) async fn usage(Extension(_caller): Extension<Caller>) -> Result<Response, Failed> {
    let text = "usage is counted by the cluster and cannot be set: ask for a scan instead";
    Err(ApiError::new(Code::Unsupported, text).into())
}

pub(super) async fn scans(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Failed> {
    let (state, users) = service.scans(&caller).await?;
    let row = |user: &Arc<flotilla_model::User>| {
        let quota = service.shown_quota(&state, user);
        let running = quota.scanning;
        let since = if running { quota.scan_started_at } else { quota.scan_wanted_at };
        json!({
            "username": quota.username,
            "start_time": since,
            "state": if running { "running" } else { "waiting" },
            "waits_for": quota.scan_waits_for,
        })
    };
    Ok(answer(StatusCode::OK, state.applied_index(), Value::Array(users.iter().map(row).collect())))
}
