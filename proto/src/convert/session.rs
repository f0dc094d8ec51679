//! A session on the wire.

use flotilla_model as model;

use crate::admin::v1;

/// `cut` as `State::session_cut` says.
pub fn session(session: &model::Session, cut: Option<model::CutReason>) -> v1::Session {
    v1::Session {
        id: session.id.to_string(),
        username: session.username.to_string(),
        node: session.id.node.0,
        remote_address: session.remote.clone(),
        protocol: session.protocol.clone(),
        login_method: session.method.clone(),
        opened_at: session.opened_wall.0,
        slots: session.slots,
        cut_reason: cut.map(|reason| format!("{reason:?}")).unwrap_or_default(),
    }
}
