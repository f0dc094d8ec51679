//! Seals secrets anew under another cluster key: all or none.

use super::{Scope, validate};
use crate::command::ResealSecrets;
use crate::event::Fact;
use crate::{Done, Effect, Refusal, Reply, SealedSecret};

pub(crate) const MOST: usize = 256;

pub(super) fn apply(scope: &mut Scope<'_>, command: &ResealSecrets) -> Reply {
    if command.secrets.len() > MOST {
        return Err(validate::invalid("secrets", "more than 256"));
    }
    if command.secrets.len() != scope.state.secrets.len() {
        return Err(validate::invalid("secrets", "some are missing: read them again"));
    }
    for (name, expected, sealed) in &command.secrets {
        let actual = scope.get::<SealedSecret>(name).map_or(0, |secret| secret.revision);
        if actual != *expected {
            return Err(Refusal::RevisionMismatch { expected: *expected, actual });
        }
        validate::sealed(sealed)?;
    }
    for (name, _, sealed) in &command.secrets {
        scope.put(SealedSecret { name: name.clone(), sealed: sealed.clone(), revision: scope.index });
        scope.event(Fact::SecretChanged { name: name.clone() });
    }
    scope.effect(Effect::Settings);
    Ok(Done::Revision(scope.index))
}
