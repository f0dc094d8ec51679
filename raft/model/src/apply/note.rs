//! Says in the history what an administrator did beside the log.

use super::Scope;
use crate::command::Note;
use crate::event::Fact;
use crate::{Done, Reply};

pub(super) fn apply(scope: &mut Scope<'_>, command: &Note) -> Reply {
    scope.event(Fact::Noted(command.clone()));
    Ok(Done::Revision(scope.index))
}
