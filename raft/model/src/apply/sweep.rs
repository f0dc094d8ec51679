//! Removes rows of dead epochs in bounded slices, one after each entry. What they meant ended with the epoch already.

use super::{Scope, account, once};
use crate::event::Fact;
use crate::{DeadEpoch, Session, SessionId};

/// Sessions swept behind one entry; each touches up to eight rows.
const SLICE: usize = 256;
/// Entries that touched more than this leave the sweep to a later one.
const BUSY_ROWS: u64 = 16_000;

pub(super) fn sweep(scope: &mut Scope<'_>) {
    if scope.meter.rows() > BUSY_ROWS {
        return;
    }
    let mut left = SLICE;
    while left > 0 {
        let Some(dead) = scope.state.dead_epochs.first().cloned() else { return };
        scope.actor = "cluster".into();
        left = left.saturating_sub(sweep_sessions(scope, &dead, left));
        left = left.saturating_sub(once::clear_answered(scope, dead.epoch, u64::MAX, left));
        if left > 0 {
            scope.remove::<DeadEpoch>(&dead.epoch);
        }
    }
}

fn sweep_sessions(scope: &mut Scope<'_>, dead: &DeadEpoch, at_most: usize) -> usize {
    let rows = scope.state.sessions_of_epoch(dead.node, dead.epoch).take(at_most);
    let ids: Vec<SessionId> = rows.map(|row| row.id).collect();
    for id in &ids {
        if let Some(row) = scope.remove::<Session>(id) {
            closed(scope, dead, &row);
        }
    }
    ids.len()
}

fn closed(scope: &mut Scope<'_>, dead: &DeadEpoch, row: &Session) {
    account::session_swept(scope, row);
    scope.event(Fact::SessionClosed {
        session: row.id,
        username: row.username.clone(),
        reason: dead.end.text().to_owned(),
        bytes_uploaded: 0,
        bytes_downloaded: 0,
    });
}
