//! The slots model and its variants.

use flotilla_check::explore::{Bound, Found, explore};
use flotilla_check::slots::{Budget, Slots, Variant};

const NONE: Budget = Budget { repeats: 0, deaths: 0, kills: 0, adds: 0 };

fn search(name: &str, variant: Variant, budget: Budget, limit: u32, connections: &[usize]) -> Found {
    let bound = if variant == Variant::Product { Bound::of_the_gate(1_500_000) } else { Bound::default() };
    explore(&format!("slots: {name}"), Slots::new(variant, budget, limit, connections), bound)
}

#[test]
fn one_slot_for_the_connections_of_two_nodes() {
    let budget = Budget { repeats: 1, ..NONE };
    search("one slot, two connections of a node, a repeat", Variant::Product, budget, 1, &[0, 0]).assert_holds();
    search("one slot, two nodes, a repeat", Variant::Product, budget, 1, &[0, 1]).assert_holds();
    search("two slots, three connections", Variant::Product, NONE, 2, &[0, 0, 1]).assert_holds();
}

#[test]
fn nodes_that_lose_their_lease() {
    let budget = Budget { deaths: 1, ..NONE };
    search("one slot, a lease dies", Variant::Product, budget, 1, &[0, 1]).assert_holds();
}

#[test]
fn further_channels_and_kills() {
    let budget = Budget { kills: 1, adds: 1, ..NONE };
    search("two slots, a further channel, a kill", Variant::Product, budget, 2, &[0, 1]).assert_holds();
}

fn bound_of(variant: Variant) -> (Budget, Vec<usize>) {
    match variant {
        Variant::ExpiresALivingLease | Variant::TakesOldEpochs => (Budget { deaths: 1, ..NONE }, vec![0, 1]),
        Variant::KillFreesTheSlot => (Budget { kills: 1, ..NONE }, vec![0, 1]),
        _ => (Budget { repeats: 1, ..NONE }, vec![0, 0]),
    }
}

#[test]
fn every_variant_is_caught() {
    for variant in Variant::BROKEN {
        let (budget, connections) = bound_of(variant);
        search(&format!("{variant:?}"), variant, budget, 1, &connections).assert_caught();
    }
}
