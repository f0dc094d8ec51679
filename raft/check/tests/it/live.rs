//! The model of the live scan and its variants.

use flotilla_check::explore::{Bound, Found, explore};
use flotilla_check::live::{FOUND, Live, Variant, What};

/// The file is shortened, and written as large as it was.
const WRITE_AND_SHRINK: &[(usize, What)] = &[(0, What::Grow(FOUND)), (0, What::Shrink(1))];

fn search(name: &str, model: Live) -> Found {
    let states = if model.nodes() == 1 { 400_000 } else { 150_000 };
    let bound = if model.variant == Variant::Product { Bound::of_the_gate(states) } else { Bound::default() };
    explore(&format!("live scan: {name}"), model, bound)
}

fn product(operations: &[(usize, What)]) -> Live {
    Live::new(Variant::Product, operations)
}

#[test]
fn an_upload_and_a_remove_during_a_scan() {
    search("an upload, repeats", Live { repeats: 2, ..product(&[(0, What::Upload)]) }).assert_holds();
    search("a remove, repeats", Live { repeats: 1, ..product(&[(0, What::Remove)]) }).assert_holds();
    search("an upload and a remove", product(&[(0, What::Upload), (0, What::Remove)])).assert_holds();
    search("an upload and a remove of two nodes", product(&[(0, What::Upload), (1, What::Remove)])).assert_safe();
}

#[test]
fn a_rename_during_two_scans() {
    search("a rename, two scans", Live { scans: 2, repeats: 1, ..product(&[(0, What::Rename)]) }).assert_holds();
    search("a rename and an upload of two nodes", product(&[(0, What::Rename), (1, What::Upload)])).assert_safe();
}

#[test]
fn writes_and_truncations_in_place_during_a_scan() {
    search("a write that grows", Live { repeats: 2, ..product(&[(0, What::Grow(FOUND + 1))]) }).assert_holds();
    search("a write and a truncation", product(WRITE_AND_SHRINK)).assert_holds();
    let apart = &[(0, What::Grow(FOUND)), (1, What::Shrink(1))];
    search("a write and a truncation of two nodes", product(apart)).assert_safe();
}

#[test]
fn a_removed_file_that_is_open() {
    search("an open file is removed", Live { scans: 2, ..product(&[(0, What::RemoveOpen)]) }).assert_holds();
    let shortened = &[(0, What::Shrink(1)), (0, What::RemoveOpen)];
    search("an open file is shortened and removed", product(shortened)).assert_holds();
}

#[test]
fn a_node_that_dies_during_a_scan() {
    for what in [What::Upload, What::Rename, What::Remove] {
        let model = Live { scans: 2, deaths: 1, ..product(&[(0, what)]) };
        search(&format!("a death, {what:?}"), model).assert_holds();
    }
}

#[test]
fn every_variant_is_caught() {
    for variant in Variant::BROKEN {
        let operations: &[(usize, What)] = match variant {
            Variant::EarlyWalk | Variant::EmptyReport | Variant::NoDoubtOfHeldRoom => &[(0, What::Upload)],
            Variant::NoLastStaging => &[(0, What::Remove)],
            Variant::SilentRename | Variant::SilentMoving => &[(0, What::Rename)],
            Variant::SilentShrink | Variant::SilentOldWrite | Variant::SilentOldWriting | Variant::KeepsCharged => {
                WRITE_AND_SHRINK
            }
            Variant::SilentHeld | Variant::NamelessOnceHeld => &[(0, What::RemoveOpen)],
            Variant::StaleCredit => &[(0, What::Shrink(1)), (0, What::RemoveOpen)],
            Variant::Product => unreachable!(),
        };
        search(&format!("{variant:?}"), Live::new(variant, operations)).assert_caught();
    }
}
