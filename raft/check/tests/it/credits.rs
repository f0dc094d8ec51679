//! The credits model and its variants.

use flotilla_check::credits::{Credits, Storage, Variant, What};
use flotilla_check::explore::{Bound, Found, explore};

const NAME: u8 = 1;
const SECOND: u8 = 2;
const BOTH_REPLACE: &[(usize, What)] = &[(0, What::Replace(NAME, 1)), (1, What::Replace(NAME, 1))];
const REPLACE_AND_REMOVE: &[(usize, What)] = &[(0, What::Replace(NAME, 1)), (1, What::Remove(NAME))];
const REPLACE_AND_REMOVE_TWICE: &[(usize, What)] =
    &[(0, What::Replace(NAME, 1)), (1, What::Remove(NAME)), (1, What::Remove(NAME))];
const REMOVE_BOTH_NAMES: &[(usize, What)] = &[(0, What::Remove(NAME)), (1, What::Remove(SECOND))];

fn search(name: &str, model: Credits) -> Found {
    let bound = if model.variant == Variant::Product { Bound::of_the_gate(2_500_000) } else { Bound::default() };
    explore(&format!("credits: {name}"), model, bound)
}

#[test]
fn one_replaces_what_the_other_removes() {
    for storage in [Storage::Exchanges, Storage::Links] {
        let model = Credits::new(Variant::Product, storage, false, REPLACE_AND_REMOVE_TWICE);
        search(&format!("replaced and removed twice, {storage:?}"), model).assert_holds();
    }
}

#[test]
fn links_that_are_seen_late_give_no_second_credit() {
    let model = Credits::new(Variant::Product, Storage::LinksSeenLate, false, BOTH_REPLACE);
    search("both replace, LinksSeenLate, names kept and forgotten", Credits { tells: 1, linked: true, ..model })
        .assert_holds();
}

#[test]
fn both_nodes_replace_the_file() {
    let model = Credits::new(Variant::Product, Storage::Links, false, BOTH_REPLACE);
    search("both replace, Links", model).assert_holds();
}

#[test]
fn a_file_with_two_names_is_credited_with_the_last() {
    let model = Credits::new(Variant::Product, Storage::Exchanges, true, REMOVE_BOTH_NAMES);
    search("two names, repeats", Credits { repeats: 2, ..model }).assert_holds();
}

#[test]
fn every_variant_is_caught() {
    let cases = [
        (Variant::StatsBeforeTheCapture, Storage::Exchanges, false, REPLACE_AND_REMOVE),
        (Variant::IgnoresLinks, Storage::Exchanges, true, REMOVE_BOTH_NAMES),
        (Variant::MeasuresInSecret, Storage::LinksSeenLate, false, BOTH_REPLACE),
        (Variant::TellsAfterTheCapture, Storage::LinksSeenLate, false, BOTH_REPLACE),
        (Variant::NamesWithoutBirth, Storage::Exchanges, false, REPLACE_AND_REMOVE_TWICE),
        (Variant::KeepsTheCaughtFile, Storage::Exchanges, false, REPLACE_AND_REMOVE),
    ];
    assert_eq!(cases.map(|case| case.0), Variant::BROKEN);
    for (variant, storage, second, operations) in cases {
        let model = Credits::new(variant, storage, second, operations);
        let tells = u8::from(storage == Storage::LinksSeenLate);
        search(&format!("{variant:?}"), Credits { tells, linked: tells > 0, ..model }).assert_caught();
    }
}
