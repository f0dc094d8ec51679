//! Black-box linearizability of one key: Wing and Gong's search with Lowe's memoisation of (what is done, state).
//!
//! "Testing for linearizability", Lowe 2016; "Faster linearizability checking via P-compositionality", Horn and Kroening 2015.

use std::collections::HashSet;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// What a key is allowed to do, one operation at a time.
pub trait Model {
    type State: Clone + Eq + Hash;
    /// An operation together with its answer; for an open one the answer is "anything".
    type Op;

    fn initial(&self) -> Self::State;
    /// The state after the operation, or `None` if it cannot have been answered like this in that state.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;
}

/// An operation in time.
#[derive(Clone, Debug)]
pub struct Call<Op> {
    pub op: Op,
    pub invoked: u64,
    /// `u64::MAX`: never answered. It may take effect at any time after `invoked`, or never.
    pub returned: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    /// The longest order that could be found; the calls missing in it hold the contradiction.
    Not {
        longest: Vec<usize>,
    },
    /// Out of time or of memory: undecided.
    Unknown(String),
}

/// How much a search may cost.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    pub time: Duration,
    /// Remembered (done, state) pairs.
    pub pairs: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { time: Duration::from_secs(60), pairs: 5_000_000 }
    }
}

/// Decides whether some order of the calls, which keeps "returned before invoked", is legal.
pub fn check<M: Model>(model: &M, calls: &[Call<M::Op>], budget: Budget) -> Verdict {
    let end = Instant::now() + budget.time;
    let mut list = List::new(calls);
    let mut missing = calls.iter().filter(|call| call.returned != u64::MAX).count();
    let mut done = Done::new(calls.len());
    let mut state = model.initial();
    let mut seen: HashSet<(Done, M::State)> = HashSet::new();
    let mut stack: Vec<(usize, M::State)> = Vec::new();
    let mut longest = Vec::new();
    let mut at = list.first();
    let mut steps = 0u64;
    while missing > 0 {
        steps += 1;
        if steps.is_multiple_of(1024) && (Instant::now() > end || seen.len() > budget.pairs) {
            return Verdict::Unknown(format!("{} calls, {} states remembered, undecided", calls.len(), seen.len()));
        }
        if let Some(Event::Call(call)) = list.event(at) {
            if let Some(next) = model.step(&state, &calls[call].op) {
                done.set(call, true);
                if seen.insert((done.clone(), next.clone())) {
                    stack.push((call, std::mem::replace(&mut state, next)));
                    missing -= usize::from(calls[call].returned != u64::MAX);
                    list.lift(call);
                    at = list.first();
                    continue;
                }
                done.set(call, false);
            }
            at = list.next(at);
            continue;
        }
        // A return whose call has not been placed, or the end: the last choice was wrong.
        if stack.len() > longest.len() {
            longest = stack.iter().map(|(call, _)| *call).collect();
        }
        let Some((call, before)) = stack.pop() else { return Verdict::Not { longest } };
        state = before;
        done.set(call, false);
        missing += usize::from(calls[call].returned != u64::MAX);
        list.unlift(call);
        at = list.next(list.call_at[call]);
    }
    Verdict::Linearizable
}

/// Which calls have been placed: one bit each.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Done(Vec<u64>);

impl Done {
    fn new(calls: usize) -> Done {
        Done(vec![0; calls.div_ceil(64)])
    }
    fn set(&mut self, call: usize, value: bool) {
        let bit = 1 << (call % 64);
        if value { self.0[call / 64] |= bit } else { self.0[call / 64] &= !bit }
    }
}

#[derive(Clone, Copy)]
enum Event {
    Call(usize),
    Return,
}

/// Calls and returns in time, as a doubly linked list out of which placed calls are lifted. Slot 0 is the head.
struct List {
    events: Vec<Option<Event>>,
    next: Vec<usize>,
    previous: Vec<usize>,
    call_at: Vec<usize>,
    /// 0: never returns.
    return_at: Vec<usize>,
}

impl List {
    fn new<Op>(calls: &[Call<Op>]) -> List {
        // At equal times calls come first: what touches may overlap.
        let mut order: Vec<(u64, bool, usize)> = Vec::new();
        for (at, call) in calls.iter().enumerate() {
            order.push((call.invoked, false, at));
            if call.returned != u64::MAX {
                order.push((call.returned, true, at));
            }
        }
        order.sort_unstable();
        let slots = order.len() + 1;
        let mut list = List {
            events: vec![None; slots],
            next: (1..=slots).map(|slot| slot % slots).collect(),
            previous: (0..slots).map(|slot| (slot + slots - 1) % slots).collect(),
            call_at: vec![0; calls.len()],
            return_at: vec![0; calls.len()],
        };
        for (slot, (_, returns, call)) in (1..).zip(order) {
            list.events[slot] = Some(if returns { Event::Return } else { Event::Call(call) });
            let places = if returns { &mut list.return_at } else { &mut list.call_at };
            places[call] = slot;
        }
        list
    }

    fn first(&self) -> usize {
        self.next[0]
    }
    fn next(&self, slot: usize) -> usize {
        self.next[slot]
    }
    fn event(&self, slot: usize) -> Option<Event> {
        self.events[slot]
    }

    fn lift(&mut self, call: usize) {
        for slot in [self.call_at[call], self.return_at[call]] {
            if slot != 0 {
                let (before, after) = (self.previous[slot], self.next[slot]);
                self.next[before] = after;
                self.previous[after] = before;
            }
        }
    }

    /// Undoes the last `lift`, in the opposite order.
    fn unlift(&mut self, call: usize) {
        for slot in [self.return_at[call], self.call_at[call]] {
            if slot != 0 {
                let (before, after) = (self.previous[slot], self.next[slot]);
                self.next[before] = slot;
                self.previous[after] = slot;
            }
        }
    }
}
