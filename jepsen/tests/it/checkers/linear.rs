//! The search against brute force on 100,000 small random histories, and on long ones that have many orders.

use flotilla_jepsen::check::linear::{Budget, Call, Model, Verdict, check};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A register with compare-and-set, and the answers that it gave.
struct Register;

#[derive(Clone, Debug)]
enum Op {
    Write(u8),
    Read(u8),
    Swap { from: u8, to: u8, done: Option<bool> },
}

impl Model for Register {
    type State = u8;
    type Op = Op;
    fn initial(&self) -> u8 {
        0
    }
    fn step(&self, state: &u8, op: &Op) -> Option<u8> {
        match *op {
            Op::Write(value) => Some(value),
            Op::Read(value) => (*state == value).then_some(*state),
            Op::Swap { from, to, done } => match (*state == from, done) {
                (true, Some(true) | None) => Some(to),
                (false, Some(false) | None) => Some(*state),
                _ => None,
            },
        }
    }
}

/// Every subset of the open calls, every order of them and the answered ones: legal and in keeping with time?
fn brute_force(calls: &[Call<Op>]) -> bool {
    let open: Vec<usize> = (0..calls.len()).filter(|at| calls[*at].returned == u64::MAX).collect();
    (0u32..1 << open.len()).any(|subset| {
        let taken = |at: &usize| open.iter().position(|other| other == at).is_none_or(|bit| subset >> bit & 1 == 1);
        let chosen: Vec<usize> = (0..calls.len()).filter(taken).collect();
        some_order(calls, &chosen, 0)
    })
}

fn some_order(calls: &[Call<Op>], left: &[usize], state: u8) -> bool {
    left.is_empty()
        || left.iter().any(|at| {
            let earlier = left.iter().any(|other| calls[*other].returned < calls[*at].invoked);
            let others: Vec<usize> = left.iter().copied().filter(|other| other != at).collect();
            !earlier && Register.step(&state, &calls[*at].op).is_some_and(|next| some_order(calls, &others, next))
        })
}

/// Up to seven calls of three processes, some never answered; the answers are those of a real register, at times a wrong one.
fn random_history(random: &mut StdRng) -> Vec<Call<Op>> {
    let count = random.random_range(1..=7);
    let mut ends = [0u64; 3];
    let mut spans: Vec<(u64, u64)> = (0..count)
        .map(|_| {
            let process = random.random_range(0..3);
            let invoked = ends[process] + random.random_range(1..6);
            ends[process] = invoked + random.random_range(1..12);
            (invoked, ends[process])
        })
        .collect();
    spans.sort_unstable();
    let mut effects: Vec<(u64, usize)> =
        spans.iter().enumerate().map(|(at, (from, to))| (random.random_range(*from..=*to), at)).collect();
    effects.sort_unstable();
    let mut state = 0u8;
    let mut calls: Vec<Option<Call<Op>>> = vec![None; spans.len()];
    for (_, at) in effects {
        let lie = random.random_ratio(1, 6);
        let open = random.random_ratio(1, 6);
        let value = random.random_range(0..3);
        let op = match random.random_range(0..3) {
            0 => Op::Write(value),
            1 => Op::Read(if lie { value } else { state }),
            _ => {
                let from = random.random_range(0..3);
                let done = (from == state) != lie;
                Op::Swap { from, to: value, done: (!open).then_some(done) }
            }
        };
        // An open call takes effect in half of the cases.
        if !open || random.random_bool(0.5) {
            state = match op {
                Op::Write(value) => value,
                Op::Swap { from, to, .. } if from == state => to,
                _ => state,
            };
        }
        let open = open && !matches!(op, Op::Read(_));
        calls[at] = Some(Call { op, invoked: spans[at].0, returned: if open { u64::MAX } else { spans[at].1 } });
    }
    calls.into_iter().flatten().collect()
}

#[test]
fn search_says_what_brute_force_says_on_100_000_histories() {
    let mut random = StdRng::seed_from_u64(20_260_804);
    let (mut yes, mut no) = (0u32, 0u32);
    for number in 0..100_000 {
        let calls = random_history(&mut random);
        let expected = brute_force(&calls);
        let found = check(&Register, &calls, Budget::default());
        assert_eq!(found == Verdict::Linearizable, expected, "history {number}: {calls:?}\n{found:?}");
        assert!(!matches!(found, Verdict::Unknown(_)), "undecided: {found:?}");
        if expected { yes += 1 } else { no += 1 }
    }
    assert!(yes > 20_000 && no > 20_000, "one verdict is rare: {yes} linearizable, {no} not");
}

#[test]
fn many_concurrent_writes_with_many_orders_are_decided_by_memory() {
    // 3,000 rounds of four writes that overlap and a read of any of them: 24 orders each, one state each.
    let mut calls = Vec::new();
    for round in 0..3_000u64 {
        let start = round * 10;
        calls.extend((0..4).map(|value| Call { op: Op::Write(value), invoked: start, returned: start + 5 }));
        calls.push(Call { op: Op::Read((round % 4) as u8), invoked: start + 6, returned: start + 7 });
    }
    assert_eq!(check(&Register, &calls, Budget::default()), Verdict::Linearizable);
    calls.push(Call { op: Op::Read(9), invoked: 30_001, returned: 30_002 });
    assert!(matches!(check(&Register, &calls, Budget::default()), Verdict::Not { .. }));
}

#[test]
fn a_search_beyond_its_budget_is_unknown_and_not_green() {
    // 24 open swaps that may each have happened or not, and a read that none explains.
    let swap = |at: u8| Op::Swap { from: at, to: at.wrapping_mul(7).wrapping_add(3), done: None };
    let mut calls: Vec<Call<Op>> = (0..24).map(|at| Call { op: swap(at), invoked: 0, returned: u64::MAX }).collect();
    calls.extend((0..24).map(|at| Call { op: Op::Write(at), invoked: 0, returned: u64::MAX }));
    calls.push(Call { op: Op::Read(255), invoked: 1, returned: 2 });
    let small = Budget { pairs: 1_000, ..Budget::default() };
    assert!(matches!(check(&Register, &calls, small), Verdict::Unknown(_)));
}
