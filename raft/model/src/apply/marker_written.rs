//! Notes that a storage's marker lies where it should.

use super::Scope;
use crate::command::MarkerWritten;
use crate::{Done, Effect, Refusal, Reply, Storage};

pub(super) fn apply(scope: &mut Scope<'_>, command: &MarkerWritten) -> Reply {
    let name = command.name.clone();
    let row = scope.get::<Storage>(&name).ok_or_else(|| Refusal::NameNotFound { name: name.to_string() })?;
    if row.storage_id != command.storage_id {
        return Err(Refusal::StorageKnown { name, storage_id: row.storage_id.clone() });
    }
    if row.marker_written {
        return Ok(Done::Nothing);
    }
    scope.put(Storage { marker_written: true, revision: scope.index, ..Storage::clone(&row) });
    scope.effect(Effect::Storage(name));
    Ok(Done::Revision(scope.index))
}
