//! The two seconds before and after a violation, operation by operation.

use std::collections::BTreeMap;

use super::charts::outcome_colour;
use super::svg::{Axis, chart, label, rect};
use crate::history::Operation;

const AROUND: u64 = 2_000_000_000;
/// Processes that fit on a page.
const PROCESSES: usize = 60;

/// A row per process, a bar per operation, question and answer as title; the violation as a line.
pub fn around(operations: &[Operation], at: u64) -> String {
    let axis = Axis { from: at.saturating_sub(AROUND), to: at + AROUND };
    let near = operations.iter().filter(|one| one.invoked <= axis.to && one.answered >= axis.from);
    let mut rows: BTreeMap<u64, Vec<&Operation>> = BTreeMap::new();
    for operation in near {
        rows.entry(operation.process).or_default().push(operation);
    }
    let left_out = rows.len().saturating_sub(PROCESSES);
    let mut text = String::new();
    let height = rows.len().min(PROCESSES) as f64 * 16.0;
    for (row, (process, operations)) in rows.iter().take(PROCESSES).enumerate() {
        let y = row as f64 * 16.0;
        text += &label(y + 11.0, &format!("{process} {}", operations[0].f));
        for one in operations {
            let (x, to) = (axis.x(one.invoked), axis.x(one.answered));
            let title = format!("{} {} → {:?} {}", one.f, one.asked, one.outcome, one.answer);
            text += &rect(x, y + 2.0, to - x, 11.0, outcome_colour(one.outcome), &title);
        }
    }
    text += &rect(axis.x(at), 0.0, 1.5, height, "#b3261e", "the violation");
    let note = if left_out > 0 { format!("<p>{left_out} more processes are left out.</p>") } else { String::new() };
    chart(height, axis, "", &text) + &note
}
