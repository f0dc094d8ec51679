//! Gives the cluster its identity: the first command.

use super::{Scope, validate};
use crate::command::InitCluster;
use crate::event::Fact;
use crate::{Done, Effect, NodeId, Refusal, Reply, Settings};

const FEATURE_LEVEL: u32 = 1;
const EVENT_WINDOW: u64 = 10_000;
const REQUEST_WINDOW: u64 = 10_000;

pub(super) fn apply(scope: &mut Scope<'_>, command: &InitCluster) -> Reply {
    if let Some(settings) = &scope.state.settings {
        return Err(Refusal::AlreadyInitialised { cluster_id: settings.cluster_id.clone() });
    }
    validate::text("cluster_id", &command.cluster_id, 1, 64)?;
    scope.put_settings(Settings {
        cluster_id: command.cluster_id.clone(),
        feature_level: FEATURE_LEVEL,
        event_window: EVENT_WINDOW,
        request_window: REQUEST_WINDOW,
        last_node: NodeId(0),
        join_tokens: Vec::new(),
        revision: scope.index,
    });
    scope.event(Fact::ClusterInitialised { cluster_id: command.cluster_id.clone() });
    scope.effect(Effect::Settings);
    Ok(Done::Revision(scope.index))
}
