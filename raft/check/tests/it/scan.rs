//! The scan model and its variants.

use flotilla_check::explore::{Bound, Found, explore};
use flotilla_check::scan::{Jobs, Scan, Variant};

const NONE: Jobs =
    Jobs { upload: false, in_place: false, remove: false, guest: false, forced: false, scans: 1, repeats: 0 };

fn search(name: &str, variant: Variant, jobs: Jobs) -> Found {
    let bound = if variant == Variant::Product { Bound::of_the_gate(700_000) } else { Bound::default() };
    explore(&format!("scan: {name}"), Scan::new(variant, jobs), bound)
}

#[test]
fn a_node_that_stops_in_an_upload_or_a_write() {
    let jobs = Jobs { upload: true, in_place: true, repeats: 1, ..NONE };
    search("an upload and a write in place", Variant::Product, jobs).assert_holds();
}

#[test]
fn a_node_that_stops_in_a_remove() {
    let jobs = Jobs { upload: true, remove: true, scans: 2, repeats: 1, ..NONE };
    search("an upload and a remove", Variant::Product, jobs).assert_holds();
}

#[test]
fn a_scan_that_does_not_wait_is_safe_behind_its_fence() {
    let jobs = Jobs { upload: true, remove: true, forced: true, ..NONE };
    search("an upload and a remove, forced", Variant::Product, jobs).assert_holds();
}

#[test]
fn another_node_that_serves_meanwhile() {
    let jobs = Jobs { in_place: true, guest: true, scans: 2, ..NONE };
    search("a guest during the scan", Variant::Product, jobs).assert_holds();
}

#[test]
fn every_variant_is_caught() {
    for variant in Variant::BROKEN {
        let jobs = match variant {
            Variant::FenceLeavesTheFolder => Jobs { remove: true, forced: true, ..NONE },
            Variant::FencesInWordOnly => Jobs { upload: true, forced: true, ..NONE },
            Variant::DeadGrantsAreFree | Variant::SettlesDeadTwice => Jobs { upload: true, ..NONE },
            Variant::ForcesAlways => Jobs { in_place: true, ..NONE },
            Variant::WalksBeforeTheBegin => Jobs { in_place: true, guest: true, ..NONE },
            Variant::NoMarkForTheUnmeasured => Jobs { remove: true, ..NONE },
            Variant::Product => unreachable!(),
        };
        search(&format!("{variant:?}"), variant, jobs).assert_caught();
    }
}
