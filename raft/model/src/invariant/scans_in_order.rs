//! A live scan awaits only rows that are there, walks only behind its barrier, and is nobody's but a node's whose epoch it names.

use super::{Violation, holds};
use crate::State;

pub fn scans_in_order(state: &State) -> Result<(), Violation> {
    for row in state.accounts() {
        let Some(scan) = &row.scan else { continue };
        let wrong = |what: &str| format!("account {}: {what}: {scan:?}", row.id);
        let name = "scans_in_order";
        holds(name, scan.begun <= state.applied_index(), || wrong("it begins later"))?;
        holds(name, scan.begun > row.scan_committed, || wrong("a later one is committed"))?;
        let Some(live) = &scan.live else { continue };
        let there = live.awaited.iter().all(|key| row.holders.contains_key(key));
        holds(name, there, || wrong("it awaits a row that is gone"))?;
        holds(name, live.awaited.is_disjoint(&live.ended), || wrong("it awaits an epoch that had ended"))?;
        holds(name, live.walked.is_none() || live.barrier.is_some(), || wrong("it was walked before its barrier"))?;
        let stuck = live.awaited.is_empty() && (live.barrier.is_none() || live.walked.is_some());
        holds(name, !stuck, || wrong("nobody is awaited and it does not go on"))?;
        let quiet = live.barrier.is_some() || (live.added.is_zero() && live.credited.is_zero());
        holds(name, quiet, || wrong("it counts what was settled before its barrier"))?;
    }
    Ok(())
}
