//! No root contains, or lies in, the root of a limited account (4.1).

use super::{Violation, holds};
use crate::State;

/// Of roots that are some user's home. In order of names a root's descendants follow it without a gap.
pub fn roots_apart(state: &State) -> Result<(), Violation> {
    let used = &state.indices.used_roots;
    state.indices.limited_roots.keys().try_for_each(|limited| {
        let above = limited.ancestors().find(|above| used.contains_key(above));
        let inside = used.range(limited.first_inside()..).next().filter(|(other, _)| limited.contains(other));
        let other = above.or_else(|| inside.map(|(other, _)| other.clone()));
        holds("roots_apart", other.is_none(), || format!("{limited} and {other:?}"))
    })
}
