//! `/connections`: live sessions of all nodes.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use flotilla_cluster::ActiveTransfer;
use flotilla_model::SessionId;
use schemars::JsonSchema;
use serde::Serialize;

use super::reply::{Answer, Message, done};
use super::{Failed, Once, Reading};
use crate::error::ApiError;
use crate::service::{Caller, Service, wall_ms};

/// A session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Connection")]
pub(super) struct ConnectionShown {
    username: String,
    /// NODE-EPOCH-NUMBER.
    connection_id: String,
    /// The client's address and port.
    remote_address: String,
    /// Milliseconds since 1970.
    connection_time: u64,
    last_activity: u64,
    current_time: u64,
    protocol: String,
    login_method: String,
    /// What it counts against max_sessions.
    slots: u32,
    /// The number of the node that serves it.
    node: String,
    /// It is being ended.
    closing: bool,
    /// Left out where there are none, or where they are not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    active_transfers: Vec<TransferShown>,
    /// The node did not say in time what is transferred.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    transfers_unknown: bool,
}

/// A file that is read or written now.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ActiveTransfer")]
struct TransferShown {
    #[schemars(extend("enum" = ["upload", "download"]))]
    operation_type: &'static str,
    /// Milliseconds since 1970.
    start_time: u64,
    /// Bytes that were moved.
    size: u64,
    path: String,
}

impl TransferShown {
    fn of(transfer: &ActiveTransfer) -> TransferShown {
        TransferShown {
            operation_type: if transfer.upload { "upload" } else { "download" },
            start_time: transfer.started_at,
            size: transfer.size,
            path: transfer.path.clone(),
        }
    }
}

pub(super) async fn list(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    reading: Reading,
) -> Result<Answer<Vec<ConnectionShown>>, Failed> {
    let (state, sessions) = service.list_sessions(&caller, reading.stale).await?;
    let transfers = service.transfers(&sessions).await;
    let now = wall_ms();
    let shown = |session: &Arc<flotilla_model::Session>| ConnectionShown {
        username: session.username.to_string(),
        connection_id: session.id.to_string(),
        remote_address: session.remote.clone(),
        connection_time: session.opened_wall.0,
        last_activity: session.opened_wall.0,
        current_time: now,
        protocol: session.protocol.clone(),
        login_method: session.method.clone(),
        slots: session.slots,
        node: session.id.node.to_string(),
        closing: state.session_cut(session).is_some(),
        active_transfers: transfers.get(&session.id).into_iter().flatten().map(TransferShown::of).collect(),
        transfers_unknown: !transfers.contains_key(&session.id),
    };
    Ok(Answer::at(state.applied_index(), sessions.iter().map(shown).collect()))
}

pub(super) async fn kill(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    once: Once,
    Path(id): Path<String>,
) -> Result<Answer<Message>, Failed> {
    let session: SessionId = id.parse().map_err(ApiError::from)?;
    let changed = service.kill_session(&caller, once.request_id, session).await?;
    Ok(done(&changed, "Connection closed"))
}
