//! `/cluster`, `/status`, `/version`, `/token`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::Failed;
use super::reply::answer;
use crate::service::cluster::NodeView;
use crate::service::{Caller, Service};

pub(super) async fn cluster(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Failed> {
    let view = service.cluster_view(&caller)?;
    let body = json!({
        "cluster_id": view.cluster_id,
        "leader": view.leader.map(|node| node.0),
        "term": view.term,
        "log_index": view.log_index,
        "applied_index": view.applied_index,
        "state_hash": view.state_hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "nodes": view.nodes.iter().map(node).collect::<Vec<_>>(),
    });
    Ok(answer(StatusCode::OK, view.applied_index, body))
}

fn node(node: &NodeView) -> Value {
    json!({
        "id": node.id.0,
        "name": node.name,
        "role": node.role,
        "state": node.state,
        "address": node.peer_address,
        "applied_index": node.applied_index,
    })
}

pub(super) async fn status(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Failed> {
    let view = service.cluster_view(&caller)?;
    let body = json!({
        "ssh": {"is_active": true},
        "ftp": {"is_active": false},
        "webdav": {"is_active": false},
        "defender": {"is_active": false},
        "mfa": {"is_active": false},
        "allow_list": {"is_active": false},
        "rate_limiters": {"is_active": false},
        "data_provider": {"is_active": view.leader.is_some(), "driver": "raft", "error": ""},
        "node": {"id": view.node.0, "caught_up": view.caught_up, "last_event": view.last_event},
    });
    Ok(answer(StatusCode::OK, view.applied_index, body))
}

pub(super) async fn version(
    State(service): State<Arc<Service>>,
    Extension(_caller): Extension<Caller>,
) -> Result<Response, Failed> {
    let index = service.state(true).await?.applied_index();
    let body = json!({"version": env!("CARGO_PKG_VERSION"), "build_date": "", "commit_hash": "", "features": []});
    Ok(answer(StatusCode::OK, index, body))
}
