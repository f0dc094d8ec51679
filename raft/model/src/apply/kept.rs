//! Creates, replaces and deletes records that administration keeps by name: one file per kind says what it must fulfil.

mod admin;
mod folder;
mod group;
mod role;

use super::Scope;
use crate::change::changes;
use crate::command::{Delete, Expected, Put};
use crate::event::Fact;
use crate::{Done, Effect, Kept, Name, RecordKind, Refusal, Reply, Spec};

/// What a kind of record must fulfil.
pub(super) trait Rules: Spec {
    /// Bounds, and that what it names is there.
    fn check(&self, scope: &Scope<'_>) -> Result<(), Refusal>;
    /// What stays of the record before when it is replaced.
    fn replacing(self, _before: &Self) -> Self {
        self
    }
    /// What goes with a replaced (`Some`) or deleted record.
    fn follow(_scope: &mut Scope<'_>, _name: &Name, _before: &Self, _after: Option<&Self>) {}
}

pub(super) fn put<S: Rules>(scope: &mut Scope<'_>, command: &Put<S>) -> Reply {
    let (kind, name) = (S::KIND, command.name.to_string());
    let before = scope.get::<Kept<S>>(&command.name);
    match (command.expected, &before) {
        (Expected::Absent, Some(_)) => return Err(Refusal::NameExists { name: called(kind, &name) }),
        (Expected::Present | Expected::Revision(_), None) => {
            return Err(Refusal::NameNotFound { name: called(kind, &name) });
        }
        (Expected::Revision(expected), Some(row)) if expected != row.revision => {
            return Err(Refusal::RevisionMismatch { expected, actual: row.revision });
        }
        _ => {}
    }
    command.spec.check(scope)?;
    let Some(before) = before else {
        create(scope, command);
        return Ok(Done::Revision(scope.index));
    };
    let spec = command.spec.clone().replacing(&before.spec);
    if spec == before.spec {
        return Ok(Done::Revision(before.revision));
    }
    let told = changes(Some(&before.spec.fields()), Some(&spec.fields()));
    S::follow(scope, &command.name, &before.spec, Some(&spec));
    let (revision, updated_at) = (scope.index, scope.wall.0);
    scope.put(Kept { revision, updated_at, spec, ..Kept::clone(&before) });
    scope.event(Fact::RecordUpdated { kind, name, changes: told });
    scope.effect(Effect::Settings);
    Ok(Done::Revision(revision))
}

fn create<S: Rules>(scope: &mut Scope<'_>, command: &Put<S>) {
    let (name, index, now) = (command.name.clone(), scope.index, scope.wall.0);
    let told = changes(None, Some(&command.spec.fields()));
    let spec = command.spec.clone();
    scope.put(Kept { name, incarnation: index, revision: index, created_at: now, updated_at: now, spec });
    scope.event(Fact::RecordCreated { kind: S::KIND, name: command.name.to_string(), changes: told });
    scope.effect(Effect::Settings);
}

pub(super) fn delete<S: Rules>(scope: &mut Scope<'_>, command: &Delete) -> Reply {
    let (kind, name) = (S::KIND, command.name.to_string());
    let row = scope.get::<Kept<S>>(&command.name);
    let row = row.ok_or_else(|| Refusal::NameNotFound { name: called(kind, &name) })?;
    match command.expected_revision {
        Some(expected) if expected != row.revision => {
            return Err(Refusal::RevisionMismatch { expected, actual: row.revision });
        }
        _ => {}
    }
    if let Some(by) = scope.state.referrers(kind, &command.name).next() {
        return Err(Refusal::InUse { name: called(kind, &name), by: by.to_string() });
    }
    S::follow(scope, &command.name, &row.spec, None);
    scope.remove::<Kept<S>>(&command.name);
    scope.event(Fact::RecordDeleted { kind, name, changes: changes(Some(&row.spec.fields()), None) });
    scope.effect(Effect::Settings);
    Ok(Done::Revision(scope.index))
}

/// A record as refusals call it.
pub(super) fn called(kind: RecordKind, name: &str) -> String {
    format!("{} {name}", kind.word().replace('_', " "))
}
