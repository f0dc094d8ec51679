//! `/quotas/users`: scans.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use flotilla_model::User;
use schemars::JsonSchema;
use serde::Serialize;

use super::page::Asked;
use super::reply::{Answer, Message, done};
use super::{Failed, Once};
use crate::error::{ApiError, Code};
use crate::service::{Caller, Service};

pub(super) async fn scan(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    once: Once,
    Path(username): Path<String>,
    Asked(how): Asked<How>,
) -> Result<Answer<Message, 202>, Failed> {
    let force = match how.force.as_deref() {
        None | Some("0" | "false") => false,
        Some("1" | "true") => true,
        Some(_) => return Err(ApiError::field("force", "0 or 1 is expected").into()),
    };
    let changed = service.want_scan(&caller, once.request_id, &username, force).await?;
    Ok(done(&changed, "Scan started"))
}

#[derive(serde::Deserialize, JsonSchema)]
pub(super) struct How {
    /// 1: do not wait for processes of stopped nodes.
    #[schemars(extend("enum" = ["0", "1", "false", "true"]))]
    force: Option<String>,
}

/// SFTPGo lets callers set what is used; here it is what nodes have counted, and a wrong number would be a hole in the quota.
pub(super) async fn usage(Extension(_caller): Extension<Caller>) -> Result<Answer<Message>, Failed> {
    let text = "usage is counted by the cluster and cannot be set: ask for a scan instead";
    Err(ApiError::new(Code::Unsupported, text).into())
}

/// A scan of a user's quota.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Scan")]
pub(super) struct ScanShown {
    username: String,
    /// Milliseconds since 1970: when it was wanted, or when it began.
    start_time: u64,
    #[schemars(extend("enum" = ["waiting", "running"]))]
    state: &'static str,
    /// What a waiting scan waits for; empty: nothing.
    waits_for: String,
}

pub(super) async fn scans(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
) -> Result<Answer<Vec<ScanShown>>, Failed> {
    let (state, users) = service.scans(&caller).await?;
    let row = |user: &Arc<User>| {
        let quota = service.shown_quota(&state, user);
        let (state, start_time) = match quota.scanning {
            true => ("running", quota.scan_started_at),
            false => ("waiting", quota.scan_wanted_at),
        };
        ScanShown { username: quota.username, start_time, state, waits_for: quota.scan_waits_for }
    };
    Ok(Answer::at(state.applied_index(), users.iter().map(row).collect()))
}
