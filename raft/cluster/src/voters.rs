//! What an operator is told about the number of voters.

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
