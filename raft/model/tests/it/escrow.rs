//! Random games of the quota escrow: nodes that write, fail, die, thaw and scan, against the truth of what is stored.
//!
//! The reference is not the ledger: it is a set of files with sizes, the staged bytes of each process, and the limit. At every index
//! of a limited account: what is stored is at most the limit, and at most what is counted. When all is quiet: exactly what is counted.

mod game;
mod process;

use game::{Game, Rules, Seen};

fn play(rules: Rules, seeds: std::ops::Range<u64>, steps: u64) -> Seen {
    let mut seen = Seen::default();
    for seed in seeds {
        let mut game = Game::new(seed, rules);
        for _ in 0..steps {
            game.step();
        }
        game.come_to_rest();
        seen.add(game.seen);
    }
    println!("{seen:?}");
    seen
}

#[test]
fn a_fixed_limit_is_never_passed_and_what_is_stored_is_never_under_counted() {
    let seen = play(Rules { dying: false, changing: false, byte_limit: 40, file_limit: 0 }, 0..180, 10_000);
    assert!(seen.commands > 170_000 && seen.refused > 1_000 && seen.waits_granted > 1_000, "{seen:?}");
}

#[test]
fn a_limit_of_files_is_never_passed() {
    let seen = play(Rules { dying: false, changing: false, byte_limit: 0, file_limit: 5 }, 100..130, 5_000);
    assert!(seen.refused > 300 && seen.waits_granted > 300, "{seen:?}");
    play(Rules { dying: true, changing: false, byte_limit: 60, file_limit: 6 }, 200..230, 5_000);
}

#[test]
fn nodes_that_die_crash_thaw_and_settle_late_leave_nothing_uncounted() {
    let seen = play(Rules { dying: true, changing: false, byte_limit: 40, file_limit: 0 }, 1_000..1_450, 10_000);
    assert!(seen.commands > 440_000 && seen.late > 300 && seen.fenced > 300 && seen.scans > 300, "{seen:?}");
}

#[test]
fn limits_that_come_go_rise_and_fall_leave_nothing_uncounted() {
    let seen = play(Rules { dying: false, changing: true, byte_limit: 40, file_limit: 0 }, 2_000..2_130, 10_000);
    assert!(seen.confirmed > 500, "{seen:?}");
    let seen = play(Rules { dying: true, changing: true, byte_limit: 40, file_limit: 0 }, 3_000..3_220, 10_000);
    assert!(seen.confirmed > 300 && seen.late > 100 && seen.scans > 100, "{seen:?}");
}
