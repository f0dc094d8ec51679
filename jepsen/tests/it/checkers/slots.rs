//! Session limits: the sweep over certain intervals, and refusals over possible ones.

use flotilla_jepsen::check::Findings;
use flotilla_jepsen::check::slots::{Limit, Refusal, Session, safe, spurious};

use super::rules;

fn session(name: &str, asked: u64, served: u64, last_asked: u64, gone_by: u64) -> Session {
    Session { name: name.into(), asked, served: Some(served), last_asked, left_by: gone_by, gone_by }
}

const ONE: [Limit; 1] = [Limit { max_sessions: 1, from: 0, until: u64::MAX }];

fn check_safe(sessions: &[Session], limits: &[Limit]) -> Findings {
    let mut findings = Findings::new("slots");
    safe("u", sessions, limits, &mut findings);
    findings
}

fn check_spurious(refusal: Refusal, sessions: &[Session], limits: &[Limit]) -> Findings {
    let mut findings = Findings::new("slots");
    spurious("u", &[refusal], sessions, limits, &mut findings);
    findings
}

#[test]
fn two_sessions_that_served_at_once_are_found() {
    let overlap = [session("a", 0, 10, 50, 60), session("b", 20, 40, 90, 100)];
    let findings = check_safe(&overlap, &ONE);
    assert_eq!(rules(&findings), ["S-safe"]);
    assert!(findings.violations[0].text.contains("\"a\", \"b\""), "{findings:?}");
}

#[test]
fn sessions_one_after_the_other_are_fine_even_if_one_is_answered_late() {
    // The last answer of `a` was asked for before `b` first served: `a` may have been dead by then.
    let turns = [session("a", 0, 10, 39, 300), session("b", 20, 40, 90, 100)];
    assert!(check_safe(&turns, &ONE).is_valid());
}

#[test]
fn a_session_that_never_served_holds_nothing() {
    let never = Session { name: "n".into(), asked: 0, served: None, last_asked: 0, left_by: 0, gone_by: u64::MAX };
    assert!(check_safe(&[never, session("a", 0, 10, 50, 60)], &ONE).is_valid());
}

#[test]
fn a_lowered_limit_counts_from_when_its_reply_bound_everyone() {
    let both = [session("a", 0, 10, 200, 210), session("b", 0, 10, 90, 210)];
    let limits =
        |until| [Limit { max_sessions: 2, from: 0, until }, Limit { max_sessions: 1, from: 50, until: u64::MAX }];
    assert!(check_safe(&both, &limits(100)).is_valid());
    let newer = [session("a", 0, 10, 200, 210), session("c", 105, 110, 150, 210)];
    assert_eq!(rules(&check_safe(&newer, &limits(100))), ["S-safe"]);
}

#[test]
fn a_refusal_with_a_free_slot_is_found() {
    let gone = [session("a", 0, 10, 50, 60)];
    let refusal = Refusal { asked: 70, answered: 80, at_rest: false };
    assert_eq!(rules(&check_spurious(refusal, &gone, &ONE)), ["S-spurious"]);
}

#[test]
fn a_refusal_is_explained_by_a_slot_that_may_have_been_taken_meanwhile() {
    let refusal = Refusal { asked: 70, answered: 80, at_rest: false };
    assert!(check_spurious(refusal.clone(), &[session("a", 0, 10, 50, 71)], &ONE).is_valid());
    assert!(check_spurious(refusal.clone(), &[session("b", 75, 90, 95, 99)], &ONE).is_valid());
    let two = [Limit { max_sessions: 2, from: 0, until: u64::MAX }];
    assert_eq!(rules(&check_spurious(refusal, &[session("b", 75, 90, 95, 99)], &two)), ["S-spurious"]);
}

#[test]
fn a_refusal_is_judged_to_the_full_only_where_no_session_that_has_left_excuses_it() {
    let refusal = || Refusal { asked: 70, answered: 80, at_rest: false };
    let judged = |gone_by| {
        let left = Session { left_by: 60, ..session("a", 0, 10, 50, gone_by) };
        let findings = check_spurious(refusal(), &[left, session("b", 0, 10, 90, 100)], &ONE);
        assert!(findings.is_valid(), "{findings:?}");
        findings.counts["refusals judged"]
    };
    assert_eq!(judged(60), 1);
    assert_eq!(judged(69), 1, "its excuse was over by then");
    assert_eq!(judged(75), 0);
}
