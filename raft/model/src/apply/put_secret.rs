//! Stores a secret that was sealed before it entered the log.

use super::{Scope, validate};
use crate::command::PutSecret;
use crate::event::Fact;
use crate::{Done, Effect, Refusal, Reply, SealedSecret};

pub(super) fn apply(scope: &mut Scope<'_>, command: &PutSecret) -> Reply {
    validate::text("name", &command.name, 1, 128)?;
    validate::sealed(&command.sealed)?;
    let actual = scope.get::<SealedSecret>(&command.name).map_or(0, |secret| secret.revision);
    if let Some(expected) = command.expected_revision.filter(|expected| *expected != actual) {
        return Err(Refusal::RevisionMismatch { expected, actual });
    }
    let (name, revision) = (command.name.clone(), scope.index);
    scope.put(SealedSecret { name: name.clone(), sealed: command.sealed.clone(), revision });
    scope.event(Fact::SecretChanged { name });
    scope.effect(Effect::Settings);
    Ok(Done::Revision(revision))
}
