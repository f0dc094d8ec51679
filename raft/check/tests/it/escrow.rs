//! The escrow model and its variants.

use std::ops::RangeInclusive;

use flotilla_check::escrow::{Budget, Escrow, Variant};
use flotilla_check::explore::{Bound, Found, explore};

const NONE: Budget = Budget { repeats: 0, ends_of_waits: 0, deaths: 0 };
/// Two uploads of three bytes on two nodes, and a limit of four.
const TWO: [(u64, i64, i64); 2] = [(1, 3, 3), (2, 3, 3)];
/// Of one node, one written in parts: it holds room when it is refused more.
const ONE_IN_PARTS: [(u64, i64, i64); 2] = [(1, 2, 2), (1, 3, 1)];
/// Of one node, limit two: the first's second write may run while its first one's ask waits, and finds what that ask found.
const PIPELINED: [(u64, i64, i64); 2] = [(1, 2, 1), (1, 1, 1)];
/// One write more, with many more orders of them. It never fits, and the other may be refused over the room that it holds: none succeeds.
const PIPELINED_MORE: [(u64, i64, i64); 2] = [(1, 3, 1), (1, 1, 1)];

fn search(
    name: &str,
    variant: Variant,
    budget: Budget,
    limit: i64,
    uploads: &[(u64, i64, i64)],
    succeed: RangeInclusive<usize>,
) -> Found {
    let model = Escrow::new(variant, budget, limit, uploads, succeed);
    let bound = if variant == Variant::Product { Bound::of_the_gate(400_000) } else { Bound::default() };
    explore(&format!("escrow: {name}"), model, bound)
}

#[test]
fn of_two_that_do_not_fit_exactly_one_succeeds() {
    search("two uploads", Variant::Product, NONE, 4, &TWO, 1..=1).assert_holds();
    let budget = Budget { repeats: 1, ..NONE };
    search("two uploads, a repeat", Variant::Product, budget, 4, &TWO, 1..=1).assert_holds();
}

#[test]
fn an_upload_that_is_refused_in_the_middle_gives_all_back() {
    search("one in parts", Variant::Product, NONE, 4, &ONE_IN_PARTS, 1..=1).assert_holds();
}

#[test]
fn a_write_while_an_ask_of_its_upload_waits() {
    search("pipelined writes", Variant::Product, NONE, 2, &PIPELINED, 1..=1).assert_holds();
    // To its end in 3,851,283 states (155 s); the variant shows itself within 66,000.
    search("more pipelined writes", Variant::Product, NONE, 2, &PIPELINED_MORE, 0..=1).assert_safe();
}

#[test]
fn of_three_of_which_any_two_fit_two_succeed() {
    search("three uploads of a node", Variant::Product, NONE, 4, &[(1, 2, 2), (1, 2, 2), (1, 2, 2)], 2..=2)
        .assert_holds();
}

#[test]
fn waits_that_end_and_nodes_that_die() {
    let budget = Budget { ends_of_waits: 1, ..NONE };
    search("a wait that ends", Variant::Product, budget, 4, &TWO, 1..=1).assert_holds();
    let budget = Budget { deaths: 1, ..NONE };
    search("a node that dies", Variant::Product, budget, 4, &TWO, 1..=1).assert_holds();
}

#[test]
fn every_variant_is_caught() {
    for variant in Variant::BROKEN {
        let budget = match variant {
            Variant::TakesTwice => Budget { repeats: 1, ..NONE },
            Variant::DeadGrantsAreFree => Budget { deaths: 1, ..NONE },
            _ => NONE,
        };
        // Of a refused upload something must have been written.
        let (limit, uploads) = match variant {
            Variant::GivesBackBeforeUnlink | Variant::KeepsFailedRoom => (4, &ONE_IN_PARTS[..]),
            Variant::UsesWhatAnAskFound => (2, &PIPELINED[..]),
            _ => (4, &TWO[..]),
        };
        search(&format!("{variant:?}"), variant, budget, limit, uploads, 1..=1).assert_caught();
    }
}
