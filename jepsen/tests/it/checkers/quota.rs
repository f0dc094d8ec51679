//! Quota: over it, under-counted, leaked, refused without need.

use flotilla_jepsen::check::Findings;
use flotilla_jepsen::check::quota::{Quota, Refusal, Rest, Sample, at_rest, refusals, samples};

use super::rules;

const QUOTA: Quota = Quota { bytes: 100, files: 5 };

fn rest() -> Rest {
    Rest { at_ns: 1, stored_bytes: 90, stored_files: 3, used_bytes: 90, used_files: 3, filled: Some(true) }
}

fn check_rest(rest: Rest) -> Findings {
    let mut findings = Findings::new("quota");
    at_rest("u", QUOTA, &rest, &mut findings);
    findings
}

#[test]
fn one_byte_or_one_file_over_the_quota_is_found() {
    let mut findings = Findings::new("quota");
    let sample = |bytes, files| Sample { at_ns: 7, bytes, files };
    samples("u", QUOTA, &[sample(100, 5), sample(101, 1), sample(1, 6)], &mut findings);
    assert_eq!(rules(&findings), ["Q-bytes", "Q-bytes"]);
    assert_eq!(findings.counts["samples within a tenth of the quota"], 2);
}

#[test]
fn ledger_and_storage_must_agree_at_rest_to_the_byte() {
    assert!(check_rest(rest()).is_valid());
    assert_eq!(rules(&check_rest(Rest { used_bytes: 89, ..rest() })), ["Q-under"]);
    assert_eq!(rules(&check_rest(Rest { used_files: 4, ..rest() })), ["Q-leak"]);
    assert_eq!(rules(&check_rest(Rest { used_bytes: 101, stored_bytes: 101, ..rest() })), ["Q-bytes"]);
}

#[test]
fn a_quota_that_cannot_be_filled_is_found_and_one_that_nobody_tried_is_unknown() {
    assert_eq!(rules(&check_rest(Rest { filled: Some(false), ..rest() })), ["Q-live"]);
    assert!(!check_rest(Rest { filled: None, ..rest() }).unknown.is_empty());
}

#[test]
fn a_refusal_although_it_fitted_is_found() {
    let mut findings = Findings::new("quota");
    let refusal = |size| Refusal { at_ns: 1, size, possibly_used: 60, excused: size == 41, at_rest: false };
    refusals("u", QUOTA, &[refusal(41), refusal(40)], &mut findings);
    assert_eq!(rules(&findings), ["Q-refuse"]);
    assert_eq!(findings.counts["refusals judged"], 1, "the other has an upload of unknown outcome for an excuse");
}
