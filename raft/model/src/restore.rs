//! A saved state as the beginning of another cluster (`DESIGN.md` 6): another identity, nobody connected, nothing leased.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::command::PutNode;
use crate::index::Indices;
use crate::table::Table;
use crate::*;

impl State {
    /// What a new cluster begins with. Nodes, sessions, dead epochs, node commands and storage claims are dropped; what was
    /// granted counts as used, and every account is marked and uncertain: files may have changed since the save, so limited
    /// accounts take no upload before their scan. `secrets` are the ones that were sealed anew, by name; others are dropped.
    /// `first` is the new cluster's first node, added in an entry of its own: indices go on from the saved one, so that no
    /// epoch, incarnation or account number is ever used twice. Fails if the node's record is not a valid one.
    pub fn restored(
        &self,
        cluster_id: &str,
        secrets: &BTreeMap<String, Vec<u8>>,
        first: PutNode,
        wall: WallTime,
    ) -> Result<State, Refusal> {
        let mut state = self.clone();
        let index = state.meta.applied_index;
        let settings = state.settings.as_deref().cloned();
        let settings = settings.map(|row| Settings {
            cluster_id: cluster_id.to_owned(),
            revision: index,
            last_node: NodeId(0),
            join_tokens: Vec::new(),
            ..row
        });
        state.settings = settings.map(Arc::new);
        state.nodes = Table::default();
        state.sessions = Table::default();
        state.storages = Table::default();
        state.dead_epochs = Table::default();
        state.answered_numbers = Table::default();
        state.accounts = self.accounts.rewritten(|row| Some(closed(row, index, wall)));
        state.secrets = self.secrets.rewritten(|row| {
            let sealed = secrets.get(&row.name)?.clone();
            Some(SealedSecret { sealed, revision: index, ..row.clone() })
        });
        state.indices = Indices { sessions_by_age: Default::default(), slots: Default::default(), ..state.indices };
        let command = Command::PutNode(first);
        let commands = vec![Envelope { id: CommandId::Unnumbered, actor: "restore".to_owned(), command }];
        let applied = state.apply(index + 1, &Entry { time: state.meta.time, wall, commands });
        applied.replies.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(state)
    }
}

/// Nobody holds or waits for room any more.
fn closed(row: &Account, index: LogIndex, wall: WallTime) -> Account {
    Account {
        used: row.taken(),
        marked: true,
        marked_wall: wall,
        forced: false,
        asked: false,
        uncertain: true,
        holders: BTreeMap::new(),
        waiters: BTreeMap::new(),
        recall: 0,
        credited: Arc::default(),
        activity: index,
        scan: None,
        scan_tries: 0,
        scan_given_up: None,
        revision: index,
        ..row.clone()
    }
}
