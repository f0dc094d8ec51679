//! W1: a user's record with logins, as a linearizable register with revisions.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::Findings;
use super::linear::{self, Budget, Call, Model, Verdict};
use super::witness::{self, Witnessed};
use crate::history::{Kind, Operation};

/// What a client asks. Each `value` is given once in a run; the password belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Ask {
    Create { user: String, value: u64, enabled: bool },
    Update { user: String, value: u64, enabled: bool, expect: Option<u64> },
    Delete { user: String, expect: Option<u64> },
    Get { user: String, node: usize },
    Login { user: String, value: u64, node: usize },
}

impl Ask {
    pub fn user(&self) -> &str {
        match self {
            Ask::Create { user, .. } | Ask::Update { user, .. } | Ask::Delete { user, .. } => user,
            Ask::Get { user, .. } | Ask::Login { user, .. } => user,
        }
    }
    fn writes(&self) -> bool {
        matches!(self, Ask::Create { .. } | Ask::Update { .. } | Ask::Delete { .. })
    }
    /// The value that a successful change leaves.
    fn leaves(&self) -> Option<u64> {
        match self {
            Ask::Create { value, .. } | Ask::Update { value, .. } => Some(*value),
            _ => None,
        }
    }
}

/// What it is told. Refusals by the record's state are answers, not failures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "told", rename_all = "snake_case")]
pub enum Told {
    /// Changed at this log index, the new revision.
    Done {
        index: u64,
    },
    /// The record as of a log index.
    Found {
        value: u64,
        enabled: bool,
        revision: u64,
        index: u64,
    },
    /// There is no such user.
    Absent {
        index: Option<u64>,
    },
    /// There is one already.
    Exists,
    /// `expect` is not the record's revision.
    Stale,
    LoggedIn,
    Denied,
}

/// The record. `revision` is `None` after a change whose answer was lost and that nobody read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Present {
    value: u64,
    enabled: bool,
    revision: Option<u64>,
}

/// An operation with its answer; `None` if it is not known.
pub type Step = (Ask, Option<Told>);

/// The rule of one key. Knows the revisions of changes whose answers were lost, where somebody read them.
#[derive(Default)]
pub struct Users {
    revisions: HashMap<u64, u64>,
}

impl Model for Users {
    type State = Option<Present>;
    type Op = Step;

    fn initial(&self) -> Self::State {
        None
    }

    fn step(&self, state: &Self::State, (ask, told): &Step) -> Option<Self::State> {
        match ask {
            Ask::Create { value, enabled, .. } => match (state, told) {
                (None, None | Some(Told::Done { .. })) => Some(self.changed(*value, *enabled, told)),
                (Some(_), None | Some(Told::Exists)) => Some(state.clone()),
                _ => None,
            },
            Ask::Update { value, enabled, expect, .. } => match (state, told) {
                (Some(now), None | Some(Told::Done { .. })) if fits(now, *expect) => {
                    Some(self.changed(*value, *enabled, told))
                }
                _ => unchanged(state, *expect, told),
            },
            Ask::Delete { expect, .. } => match (state, told) {
                (Some(now), None | Some(Told::Done { .. })) if fits(now, *expect) => Some(None),
                _ => unchanged(state, *expect, told),
            },
            Ask::Get { .. } => match (state, told) {
                (None, Some(Told::Absent { .. })) => Some(None),
                (Some(now), Some(Told::Found { value, enabled, revision, .. }))
                    if now.value == *value
                        && now.enabled == *enabled
                        && now.revision.is_none_or(|r| r == *revision) =>
                {
                    Some(state.clone())
                }
                _ => None,
            },
            Ask::Login { value, .. } => {
                let allowed = state.as_ref().is_some_and(|now| now.enabled && now.value == *value);
                let fits = match told {
                    Some(Told::LoggedIn) => allowed,
                    Some(Told::Denied) => !allowed,
                    _ => false,
                };
                fits.then(|| state.clone())
            }
        }
    }
}

impl Users {
    fn changed(&self, value: u64, enabled: bool, told: &Option<Told>) -> Option<Present> {
        let revision = match told {
            Some(Told::Done { index }) => Some(*index),
            _ => self.revisions.get(&value).copied(),
        };
        Some(Present { value, enabled, revision })
    }
}

/// Whether a condition holds. Nobody can name a revision that nobody was told.
fn fits(now: &Present, expect: Option<u64>) -> bool {
    expect.is_none_or(|expect| now.revision == Some(expect))
}

/// A change that did nothing: refused for a reason that holds, or lost and refused.
fn unchanged(state: &Option<Present>, expect: Option<u64>, told: &Option<Told>) -> Option<Option<Present>> {
    let legal = match (state, told) {
        (_, None) => true,
        (None, Some(Told::Absent { .. })) => true,
        (Some(now), Some(Told::Stale)) => !fits(now, expect),
        _ => false,
    };
    legal.then(|| state.clone())
}

/// An operation of W1 with its times.
struct Timed {
    step: Step,
    invoked: u64,
    returned: u64,
}

fn timed(operation: &Operation) -> Result<Option<Timed>, String> {
    let wrong = |error: serde_json::Error| format!("record {}: {error}", operation.index);
    let ask: Ask = serde_json::from_value(operation.asked.clone()).map_err(wrong)?;
    // A change that certainly did nothing and a read without an answer say nothing. What a failed change wrote and somebody
    // read nevertheless is found by `aborted`.
    let told = match operation.outcome {
        Kind::Ok => Some(serde_json::from_value(operation.answer.clone()).map_err(wrong)?),
        Kind::Info if ask.writes() => None,
        _ => return Ok(None),
    };
    Ok(Some(Timed { step: (ask, told), invoked: operation.invoked, returned: operation.returned }))
}

/// Both tiers over all users of a history.
pub fn check(operations: &[Operation], budget: Budget) -> Findings {
    let mut findings = Findings::new("W1 users and logins");
    let mut keys: BTreeMap<String, Vec<Timed>> = BTreeMap::new();
    for operation in operations.iter().filter(|operation| operation.f.starts_with("W1.")) {
        match timed(operation) {
            Ok(Some(one)) => keys.entry(one.step.0.user().to_owned()).or_default().push(one),
            Ok(None) => {}
            Err(error) => findings.unknown.push(error),
        }
    }
    let failed = failed_values(operations);
    for (user, calls) in &keys {
        aborted(user, calls, &failed, &mut findings);
        check_key(user, calls, budget, &mut findings);
    }
    findings.count("users", keys.len() as u64);
    findings
}

/// Values of changes that were answered as certainly not done.
fn failed_values(operations: &[Operation]) -> BTreeMap<u64, u64> {
    let failed =
        operations.iter().filter(|operation| operation.outcome == Kind::Fail && operation.f.starts_with("W1."));
    failed
        .filter_map(|operation| {
            let ask: Ask = serde_json::from_value(operation.asked.clone()).ok()?;
            Some((ask.leaves()?, operation.index))
        })
        .collect()
}

/// No value of a failed change is ever read, or logs in.
fn aborted(user: &str, calls: &[Timed], failed: &BTreeMap<u64, u64>, findings: &mut Findings) {
    for call in calls {
        let seen = match &call.step {
            (_, Some(Told::Found { value, .. })) | (Ask::Login { value, .. }, Some(Told::LoggedIn)) => value,
            _ => continue,
        };
        if let Some(record) = failed.get(seen) {
            let text =
                format!("{user}: value {seen} was read, but its change (record {record}) had failed for certain");
            findings.violated("aborted-read", call.invoked, text);
        }
    }
}

fn check_key(user: &str, calls: &[Timed], budget: Budget, findings: &mut Findings) {
    let mut model = Users::default();
    for call in calls {
        match &call.step {
            (_, Some(Told::Found { value, revision, .. })) => {
                model.revisions.insert(*value, *revision);
            }
            (ask, Some(Told::Done { index })) => {
                model.revisions.extend(ask.leaves().map(|value| (value, *index)));
            }
            (_, None) => findings.count("answers lost", 1),
            (Ask::Login { .. }, _) => findings.count("logins", 1),
            _ => {}
        }
    }
    let witnessed: Vec<Witnessed<Step>> = calls.iter().filter_map(|call| witness_of(call, &model)).collect();
    // A lost change that nobody saw leaves no trace from which its index could be known, nor whether it happened.
    let untraced = |call: &Timed| match &call.step {
        (ask, None) => ask.leaves().is_none_or(|value| !model.revisions.contains_key(&value)),
        _ => false,
    };
    if calls.iter().any(untraced) {
        findings.count("users without a witness check", 1);
    } else {
        let show = |step: &Step, state: &Option<Present>| format!("{step:?} cannot be in state {state:?}");
        witness::check(&model, user, &witnessed, show, findings);
    }
    let black_box: Vec<Call<Step>> = calls
        .iter()
        .map(|call| Call { op: call.step.clone(), invoked: call.invoked, returned: call.returned })
        .collect();
    findings.checked += black_box.len() as u64;
    match linear::check(&model, &black_box, budget) {
        Verdict::Linearizable => {}
        Verdict::Unknown(why) => findings.unknown.push(format!("{user}: {why}")),
        Verdict::Not { longest } => {
            let first = (0..calls.len()).filter(|at| !longest.contains(at) && calls[*at].returned != u64::MAX);
            let first = first.min_by_key(|at| calls[*at].returned).unwrap_or(0);
            let text = format!("{user}: not linearizable; no place for {:?}", calls[first].step);
            findings.violated("linearizable", calls[first].invoked, text);
        }
    }
}

/// Operations whose log index is known. Refusals and logins name none; the black box has them.
fn witness_of(call: &Timed, model: &Users) -> Option<Witnessed<Step>> {
    let (at, writes) = match &call.step {
        (_, Some(Told::Done { index })) => (*index, true),
        (_, Some(Told::Found { index, .. })) => (*index, false),
        (Ask::Get { .. }, Some(Told::Absent { index })) => ((*index)?, false),
        (ask, None) => (*model.revisions.get(&ask.leaves()?)?, true),
        _ => return None,
    };
    Some(Witnessed { op: call.step.clone(), at, writes, invoked: call.invoked, returned: call.returned })
}
