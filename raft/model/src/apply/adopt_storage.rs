//! Makes a storage known and names the one node that writes its marker (`PROTOCOL.md` 8.1).

use super::{Scope, validate};
use crate::command::AdoptStorage;
use crate::event::Fact;
use crate::{Done, Effect, Node, NodeId, Refusal, Reply, Storage};

pub(super) fn apply(scope: &mut Scope<'_>, command: &AdoptStorage) -> Reply {
    let (name, node) = (command.name.clone(), command.node);
    validate::text("storage_id", &command.storage_id, 1, 64)?;
    if scope.state.node(node).is_none() {
        return Err(Refusal::NodeNotFound { node });
    }
    let known = scope.get::<Storage>(&name);
    match known {
        None => adopt(scope, command),
        Some(row) if row.storage_id != command.storage_id => {
            Err(Refusal::StorageKnown { name, storage_id: row.storage_id.clone() })
        }
        Some(row) if row.marker_written || row.marker_by == node => Ok(Done::Revision(row.revision)),
        // The node that should write the marker is gone: another one writes the same marker.
        Some(row) if !is_alive(scope, row.marker_by) => {
            scope.put(Storage { marker_by: node, revision: scope.index, ..Storage::clone(&row) });
            scope.effect(Effect::Storage(name));
            Ok(Done::Revision(scope.index))
        }
        Some(row) => Err(Refusal::StorageKnown { name, storage_id: row.storage_id.clone() }),
    }
}

fn adopt(scope: &mut Scope<'_>, command: &AdoptStorage) -> Reply {
    let (name, storage_id, revision) = (command.name.clone(), command.storage_id.clone(), scope.index);
    scope.put(Storage {
        name: name.clone(),
        storage_id: storage_id.clone(),
        marker_by: command.node,
        marker_written: false,
        revision,
    });
    scope.event(Fact::StorageAdopted { storage: name.clone(), storage_id });
    scope.effect(Effect::Storage(name));
    Ok(Done::Revision(revision))
}

fn is_alive(scope: &Scope<'_>, node: NodeId) -> bool {
    scope.get::<Node>(&node).is_some_and(|row| row.alive)
}
