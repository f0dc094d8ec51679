//! The number of voters: who becomes one, and what an operator is told about it.

use std::collections::BTreeSet;

/// More voters only make each commit wait for more disks.
pub const MOST_VOTERS: usize = 7;

/// Who becomes a voter: one where the voters are even in number, the first of two where they are odd.
pub fn promotion<N: Ord + Copy>(voters: usize, ready: &BTreeSet<N>) -> Option<N> {
    let needed = if voters.is_multiple_of(2) { 1 } else { 2 };
    let room = voters + needed <= MOST_VOTERS;
    (room && ready.len() >= needed).then(|| ready.first().copied()).flatten()
}

/// Why the voters are not what one would expect, for people. Nothing if they are as they should be.
pub fn voter_notes(voters: usize, learners: usize) -> Vec<String> {
    let mut notes = Vec::new();
    if voters > 0 && voters.is_multiple_of(2) {
        notes.push(format!(
            "{voters} voters stand the failure of {}, like {}: an even number adds a machine whose failure counts and \
             gains nothing. Join one more node; it becomes a voter by itself",
            (voters - 1) / 2,
            voters - 1
        ));
    }
    if learners > 0 && voters % 2 == 1 {
        notes.push(format!(
            "a learner serves sessions and holds all records but has no vote: {} voters would stand the failure of {}, \
             like {voters}. With one more node joined both become voters, by themselves",
            voters + 1,
            voters / 2
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_number_of_voters_is_told_why_not() {
        assert!(voter_notes(2, 0)[0].contains("2 voters stand the failure of 0, like 1"));
        assert!(voter_notes(1, 1)[0].contains("2 voters would stand the failure of 0, like 1"));
        assert!(voter_notes(3, 0).is_empty() && voter_notes(1, 0).is_empty());
    }
}
