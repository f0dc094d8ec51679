//! `/cluster`, `/status`, `/version`, `/token`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use flotilla_model::NodeId;
use serde_json::{Value, json};

use super::Failed;
use super::reply::answer;
use crate::error::{ApiError, Code};
use crate::service::{Caller, Service};

pub(super) async fn cluster(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Failed> {
    let (status, state) = service.cluster_status(&caller)?;
    let role = |id: NodeId| {
        if status.leader == Some(id) {
            "leader"
        } else if status.voters.contains(&id) {
            "voter"
        } else if status.learners.contains(&id) {
            "learner"
        } else {
            "none"
        }
    };
    let nodes: Vec<Value> = state
        .nodes()
        .map(|node| {
            json!({
                "id": node.id.0,
                "name": node.name,
                "role": role(node.id),
                "state": if node.alive { "alive" } else { "down" },
                "address": node.peer_address,
                "applied_index": if node.id == status.node { status.applied_index } else { node.renewed_index },
            })
        })
        .collect();
    let body = json!({
        "cluster_id": state.settings().map(|settings| settings.cluster_id.clone()),
        "leader": status.leader.map(|node| node.0),
        "term": status.term,
        "log_index": status.last_log_index,
        "nodes": nodes,
    });
    Ok(answer(StatusCode::OK, status.applied_index, body))
}

pub(super) async fn status(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Failed> {
    let (status, state) = service.cluster_status(&caller)?;
    let body = json!({
        "ssh": {"is_active": true},
        "data_provider": {"is_active": status.leader.is_some(), "driver": "raft", "error": ""},
        "node": {"id": status.node.0, "caught_up": status.caught_up, "last_event": state.last_event_number()},
    });
    Ok(answer(StatusCode::OK, status.applied_index, body))
}

pub(super) async fn version(
    State(service): State<Arc<Service>>,
    Extension(_caller): Extension<Caller>,
) -> Result<Response, Failed> {
    let index = service.state(true).await?.applied_index();
    let body = json!({"version": env!("CARGO_PKG_VERSION"), "build_date": "", "commit_hash": "", "features": []});
    Ok(answer(StatusCode::OK, index, body))
}

/// Admins with passwords come with a later version; until then tokens are made with `flotilla token create`.
pub(super) async fn token(Extension(_caller): Extension<Caller>) -> Result<Response, Failed> {
    Err(ApiError::new(Code::Unsupported, "this version has no admins with passwords: use a token made by `flotilla token create`").into())
}
