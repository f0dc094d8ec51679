//! Notes one round of renewals; those of epochs that are gone, and older ones, are ignored (`PROTOCOL.md` 1.2).

use super::Scope;
use crate::command::Renew;
use crate::{Done, Node, Refusal, Reply};

const MAX_RENEWALS: usize = 256;

pub(super) fn apply(scope: &mut Scope<'_>, command: &Renew) -> Reply {
    if command.renewals.len() > MAX_RENEWALS {
        return Err(Refusal::Invalid(format!("renewals: more than {MAX_RENEWALS}")));
    }
    let mut renewed = false;
    for (node, epoch, number) in &command.renewals {
        let Some(row) = scope.get::<Node>(node) else { continue };
        if row.alive && !row.leaving && row.last_epoch == *epoch && row.renewal < *number {
            let (renewed_index, renewed_at) = (scope.index, scope.time);
            scope.put(Node { renewal: *number, renewed_index, renewed_at, ..Node::clone(&row) });
            renewed = true;
        }
    }
    Ok(if renewed { Done::Revision(scope.index) } else { Done::Nothing })
}
