//! Runs a model to its bound and says what was seen.

use std::fmt::{self, Debug};
use std::hash::Hash;
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// The part of `Model` that is the same wherever `S` and `Step` stand beside the model, and its beginning, its possible steps and what
/// each does in its module `step`.
macro_rules! goes_by_steps {
    () => {
        type State = S;
        type Action = Step;

        fn init_states(&self) -> Vec<S> {
            vec![step::begin(self)]
        }

        fn actions(&self, s: &S, steps: &mut Vec<Step>) {
            step::possible(self, s, steps);
        }

        fn next_state(&self, s: &S, step: Step) -> Option<S> {
            Some(step::take(self, s, step))
        }
    };
}
pub(crate) use goes_by_steps;

/// Whether anything can still happen.
pub fn goes_on<M: Model>(model: &M, state: &M::State) -> bool {
    let mut steps = Vec::new();
    model.actions(state, &mut steps);
    !steps.is_empty()
}

/// How far a search goes: to its end, or to the first of these.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    pub depth: Option<usize>,
    /// States made, met ones included.
    pub states: Option<usize>,
    pub time: Duration,
}

impl Default for Bound {
    fn default() -> Self {
        Bound { depth: None, states: None, time: Duration::from_secs(300) }
    }
}

impl Bound {
    /// So many states in the gate; to the model's own end with `FLOTILLA_CHECK=deep`.
    pub fn of_the_gate(states: usize) -> Self {
        let deep = std::env::var("FLOTILLA_CHECK").is_ok_and(|how| how == "deep");
        let time = Duration::from_secs(if deep { 3_600 } else { 300 });
        Bound { states: (!deep).then_some(states), time, ..Bound::default() }
    }
}

/// What a search gave.
#[derive(Debug)]
pub struct Found {
    pub name: String,
    pub states: usize,
    pub unique: usize,
    pub depth: usize,
    pub took: Duration,
    /// The property that does not hold, with the steps that lead there.
    pub violation: Option<(&'static str, Vec<String>)>,
    /// What must be possible, and was not met: the search shows nothing about it.
    pub unseen: Vec<&'static str>,
    /// Every state within the model's own bound was seen.
    pub complete: bool,
    /// The clock ended the search, before any bound that was asked for.
    pub cut_short: bool,
}

/// Searches breadth first, up to a violation.
pub fn explore<M>(name: &str, model: M, bound: Bound) -> Found
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Send + Sync + Clone + PartialEq + Debug + 'static,
    M::Action: Clone + PartialEq + Debug,
{
    let began = Instant::now();
    let properties: Vec<_> = model.properties().iter().map(|one| (one.name, one.expectation.clone())).collect();
    let mut builder = model.checker().threads(2).timeout(bound.time).finish_when(HasDiscoveries::AnyFailures);
    if let Some(depth) = bound.depth {
        builder = builder.target_max_depth(depth);
    }
    if let Some(states) = bound.states {
        builder = builder.target_state_count(states);
    }
    let checker = builder.spawn_bfs().join();
    let took = began.elapsed();
    let mut found = checker.discoveries();
    let mut violation = None;
    let mut unseen = Vec::new();
    for (name, expectation) in properties {
        match (expectation, found.remove(name)) {
            (Expectation::Sometimes, None) => unseen.push(name),
            (Expectation::Sometimes, Some(_)) | (_, None) => {}
            (_, Some(path)) => {
                let steps = path.into_actions().iter().map(|action| format!("{action:?}")).collect();
                violation.get_or_insert((name, steps));
            }
        }
    }
    let counted = bound.states.is_some_and(|states| checker.state_count() >= states);
    let deep = bound.depth.is_some_and(|depth| checker.max_depth() >= depth);
    Found {
        name: name.to_owned(),
        states: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        took,
        complete: violation.is_none() && !counted && !deep && took < bound.time,
        cut_short: violation.is_none() && !counted && !deep && took >= bound.time,
        violation,
        unseen,
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match (&self.violation, self.complete) {
            (Some((property, steps)), _) => format!("VIOLATION of \"{property}\" in {} steps", steps.len()),
            (None, true) => "ok, all within the bound".to_owned(),
            (None, false) => "ok as far as searched".to_owned(),
        };
        let seconds = self.took.as_secs_f64();
        write!(
            f,
            "{}: {end}; {} states, {} of them different, depth {}, {seconds:.1} s",
            self.name, self.states, self.unique, self.depth
        )
    }
}

impl Found {
    /// Prints it, with the steps if something does not hold.
    pub fn print(&self) {
        println!("{self}");
        for step in self.violation.iter().flat_map(|(_, steps)| steps) {
            println!("    {step}");
        }
        for name in &self.unseen {
            println!("    never: {name}");
        }
    }

    /// Holds as far as was asked for, and has met all that must be possible.
    pub fn assert_holds(&self) {
        self.print();
        assert!(!self.cut_short, "{}: the clock ended the search, which shows nothing of what is behind", self.name);
        assert!(self.violation.is_none(), "{self}");
        assert!(self.unseen.is_empty(), "{}: never met: {:?}", self.name, self.unseen);
    }

    /// Holds as far as was asked for, which need not be to where all that must be possible is met.
    pub fn assert_safe(&self) {
        println!("{self}");
        assert!(!self.cut_short && self.violation.is_none(), "{self}");
    }

    /// A variant: does not hold.
    pub fn assert_caught(&self) {
        println!("{self}");
        assert!(self.violation.is_some(), "{}: not caught", self.name);
    }
}
