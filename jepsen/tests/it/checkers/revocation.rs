//! Revocation: what is acknowledged after the reply.

use flotilla_jepsen::check::Findings;
use flotilla_jepsen::check::revocation::{Acknowledged, Revocation, check};

use super::rules;

const SECOND: u64 = 1_000_000_000;

fn found(unconfirmed: &[u64], node: u64, invoked: u64, login: bool) -> Vec<&'static str> {
    let revocation = Revocation {
        user: "u".into(),
        invoked: 9 * SECOND,
        returned: 10 * SECOND,
        unconfirmed: unconfirmed.to_vec(),
        disturbed: true,
    };
    let acknowledged = Acknowledged { user: "u".into(), node, invoked, login };
    let mut findings = Findings::new("revocation");
    check(&[revocation], &[acknowledged], &mut findings);
    rules(&findings)
}

#[test]
fn nothing_asked_after_the_reply_is_acknowledged_on_a_node_that_confirmed() {
    assert!(found(&[], 1, 10 * SECOND - 1, false).is_empty());
    assert_eq!(found(&[], 1, 10 * SECOND + 1, false), ["R-late"]);
    assert_eq!(found(&[2], 1, 11 * SECOND, false), ["R-late"], "another node is named");
}

#[test]
fn a_named_node_has_a_lease_time_and_lets_nobody_in() {
    assert!(found(&[1], 1, 15 * SECOND, false).is_empty());
    assert_eq!(found(&[1], 1, 17 * SECOND, false), ["R-late"]);
    assert_eq!(found(&[1], 1, 11 * SECOND, true), ["R-late"]);
}

#[test]
fn a_node_that_does_not_confirm_is_excused_only_by_a_fault() {
    let named = |disturbed| {
        let revocation = Revocation { user: "u".into(), invoked: 1, returned: 2, unconfirmed: vec![2], disturbed };
        let mut findings = Findings::new("revocation");
        check(&[revocation], &[], &mut findings);
        (rules(&findings), findings.counts["revocations with nothing disturbed"])
    };
    assert_eq!(named(false), (vec!["R-unconfirmed"], 1));
    assert_eq!(named(true), (vec![], 0));
}

#[test]
fn a_reply_over_a_second_is_excused_only_by_a_fault() {
    let slow = |took, disturbed| {
        let revocation =
            Revocation { user: "u".into(), invoked: SECOND, returned: SECOND + took, unconfirmed: vec![], disturbed };
        let mut findings = Findings::new("revocation");
        check(&[revocation], &[], &mut findings);
        rules(&findings)
    };
    assert!(slow(SECOND, false).is_empty());
    assert_eq!(slow(SECOND + 1, false), ["R-slow"]);
    assert!(slow(SECOND + 1, true).is_empty());
}
