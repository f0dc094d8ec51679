//! A seeded random run of a million commands against the reference: delayed, repeated, reordered, grouped as it comes.

mod driver;
mod generate;
mod judge;

use driver::Driver;
use flotilla_model::{Applied, Entry, State, invariant};

/// Commands of the long run; the seed is printed when it fails.
const COMMANDS: u64 = 1_000_000;

#[test]
fn a_million_random_commands_keep_the_promises() {
    let mut driver = Driver::new(20_261_125);
    while driver.commands < COMMANDS {
        driver.step();
    }
    driver.compare();
    driver.assert_that_much_happened();
}

#[test]
fn other_seeds_keep_the_promises_too() {
    for seed in 1..=20 {
        let mut driver = Driver::new(seed);
        while driver.commands < 3_000 {
            driver.step();
        }
        driver.compare();
    }
}

#[test]
fn replay_from_the_log_equals_what_was_live_at_every_index() {
    let mut driver = Driver::recording(7);
    while driver.commands < 60_000 {
        driver.step();
    }
    let recorded = driver.recorded.take().unwrap();
    let mut state = State::default();
    for (index, (bytes, live, hash)) in (1..).zip(&recorded) {
        let applied: Applied = state.apply(index, &Entry::decode(bytes).unwrap());
        assert_eq!(applied, *live);
        assert_eq!(state.hash(), *hash);
        // A node that restarts from its snapshot goes on alike.
        if index % 2_003 == 0 {
            let restored = State::from_snapshot(state.to_snapshot()).unwrap();
            assert!(restored == state);
            state = restored;
        }
    }
    assert!(state == driver.state);
    invariant::check_all(&state).unwrap();
}
