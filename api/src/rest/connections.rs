//! `/connections`: live sessions of all nodes.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use flotilla_model::SessionId;
use serde_json::{Value, json};

use super::reply::{answer, changed};
use super::{Failed, Marks};
use crate::error::ApiError;
use crate::service::{Caller, Service};

pub(super) async fn list(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
) -> Result<Response, Failed> {
    let (state, sessions) = service.list_sessions(&caller, marks.stale).await?;
    let now = crate::service::wall_ms();
    let rows: Vec<Value> = sessions
        .iter()
        .map(|session| {
            json!({
                "username": session.username.as_str(),
                "connection_id": session.id.to_string(),
                "remote_address": session.remote,
                "connection_time": session.opened_wall.0,
                "last_activity": session.opened_wall.0,
                "current_time": now,
                "protocol": session.protocol,
                "login_method": session.method,
                "slots": session.slots,
                "node": session.id.node.to_string(),
                "closing": state.session_cut(session).is_some(),
            })
        })
        .collect();
    Ok(answer(StatusCode::OK, state.applied_index(), Value::Array(rows)))
}

pub(super) async fn kill(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    Path(id): Path<String>,
) -> Result<Response, Failed> {
    let session: SessionId = id.parse().map_err(ApiError::from)?;
    let done = service.kill_session(&caller, marks.request_id, session).await?;
    Ok(changed(StatusCode::OK, &done, json!({"message": "Connection closed"})))
}
