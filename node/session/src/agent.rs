//! The node's side of the cluster's effects: cuts sessions, wakes the ledger, answers probes.

use std::sync::Arc;

use async_trait::async_trait;
use flotilla_cluster::{ActiveTransfer, Agent, Changed, ProbeAnswer};
use flotilla_model::{NodeId, SessionId, State};

use crate::ledger::Ledger;
use crate::registry::Registry;

/// Sessions that one probe may ask about.
const MAX_PROBED: usize = 64;

pub(crate) struct NodeAgent {
    pub node: NodeId,
    pub registry: Arc<Registry>,
    pub ledger: Ledger,
}

#[async_trait]
impl Agent for NodeAgent {
    fn reconcile(&self, state: &Arc<State>, changed: &Changed) {
        match changed {
            Changed::Rows(effects) => self.registry.reconcile_rows(state, self.node, effects),
            #[cfg(feature = "planted-bugs")]
            Changed::Everything if flotilla_model::planted::is("snapshot-cuts-nobody") => {}
            Changed::Everything => self.registry.reconcile_all(state),
        }
        self.ledger.reconcile(state, changed);
    }

    async fn probe(&self, sessions: Vec<SessionId>) -> Vec<ProbeAnswer> {
        let asked = sessions.into_iter().take(MAX_PROBED).map(|id| self.registry.probe(id));
        futures::future::join_all(asked).await
    }

    fn transfers(&self) -> Vec<ActiveTransfer> {
        self.registry.transfers()
    }
}
