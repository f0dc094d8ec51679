//! What a step does, by the product's functions.

use std::sync::Arc;

use flotilla_model::command::{AccountCommand, AccountSettlement, Fenced, ScanBegin, ScanWalked};
use flotilla_model::reply::{AccountDone, AccountRefusal};
use flotilla_model::{Amount, Done, Epoch, LiveScan, NodeId, State, Walked};

use super::{FOUND, Fate, File, Known, Live, Operation, Phase, Place, S, Scanner, Step, Variant, Walk, What};
use crate::quota::{ACCOUNT, Carried, E, Process, row};
use crate::world::FIRST_EPOCH;

mod operation;

const FIRST: NodeId = NodeId(1);
const EPOCH: Epoch = Epoch(FIRST_EPOCH);
const SCANNER: NodeId = NodeId(2);
const SCANNER_EPOCH: Epoch = Epoch(FIRST_EPOCH + 1);
/// Staging, one folder, the other, staging again.
const PARTS: usize = 4;

pub fn begin(model: &Live) -> S {
    let state = &model.logs.base().state;
    let operation = |(node, what): &(usize, _)| Operation { node: *node, what: *what, phase: Phase::Idle };
    S {
        log: Vec::new(),
        processes: (1..=2).take(model.nodes()).map(|node| Process::begin(state, node)).collect(),
        words: [None; 2],
        fate: Fate::Runs,
        operations: model.operations.iter().map(operation).collect(),
        files: [File { place: Place::Folder(1), size: FOUND }, File { place: Place::Nowhere, size: 0 }],
        known: [Known { charged: FOUND, at: 0 }; 2],
        scanner: Scanner::Idle,
        plain: Vec::new(),
        fenced: false,
        scans: model.scans,
        repeats: model.repeats,
        deaths: model.deaths,
    }
}

fn end(model: &Live, s: &S) -> Arc<State> {
    Arc::clone(&model.logs.at(&s.log).state)
}

fn view(model: &Live, s: &S, process: usize) -> Arc<State> {
    Arc::clone(&model.logs.at(&s.log[..s.processes[process].applied]).state)
}

/// The scan with this begin, as the log knows it.
fn scan_of(state: &State, begun: u64) -> Option<&LiveScan> {
    row(state).scan.as_ref().filter(|scan| scan.begun == begun).and_then(|scan| scan.live.as_ref())
}

pub fn possible(model: &Live, s: &S, steps: &mut Vec<Step>) {
    let runs = |process: usize| process == 1 || s.fate == Fate::Runs;
    for (at, one) in s.operations.iter().enumerate() {
        let goes = match one.phase {
            Phase::Idle => runs(one.node),
            Phase::Over => false,
            // With the last handle.
            Phase::Held { .. } if s.operations.iter().any(is_written) => false,
            _ => runs(one.node) || s.fate == Fate::LeaseDead,
        };
        if goes {
            steps.push(Step::Go(at));
        }
    }
    let state = end(model, s);
    for (at, process) in s.processes.iter().enumerate() {
        for (flight, one) in process.flights.iter().enumerate() {
            if one.arrived.is_none() {
                steps.push(Step::Arrive { process: at, flight, again: false });
                continue;
            }
            if runs(at) {
                steps.push(Step::Hear { process: at, flight });
            }
            if s.repeats > 0 {
                steps.push(Step::Arrive { process: at, flight, again: true });
            }
        }
        if !runs(at) {
            continue;
        }
        if process.may_settle() {
            steps.push(Step::Settle(at));
        }
        if s.words[at].is_some() && !process.book.is_carrying() {
            steps.push(Step::Say(at));
        }
        if row(&view(model, s, at)) != row(&state) || process.book.clone().begin_word(&state).is_some() {
            steps.push(Step::CatchUp(at));
        }
    }
    steps.extend((0..s.plain.len()).map(Step::Plain));
    scanner(model, s, &state, steps);
    death(s, &state, steps);
}

/// Whether a write in place has the file open.
fn is_written(one: &Operation) -> bool {
    matches!((one.what, one.phase), (What::Grow(_) | What::Shrink(_), Phase::Begun(_) | Phase::Done(_)))
}

fn scanner(model: &Live, s: &S, state: &State, steps: &mut Vec<Step>) {
    let mut once_or_twice = |step: fn(bool) -> Step| {
        steps.push(step(false));
        if s.repeats > 0 {
            steps.push(step(true));
        }
    };
    match s.scanner {
        Scanner::Idle if s.scans > 0 && may_begin(state) => once_or_twice(|again| Step::Begin { again }),
        Scanner::Walks { begun, walk } => {
            let barrier = scan_of(state, begun).is_some_and(|live| live.barrier.is_some());
            if walk.part < PARTS && (barrier || model.variant == Variant::EarlyWalk) {
                steps.push(Step::Walk);
            } else if barrier && walk.part == PARTS {
                once_or_twice(|again| Step::Walked { again });
            }
        }
        Scanner::Idle | Scanner::Waits { .. } => {}
    }
}

fn may_begin(state: &State) -> bool {
    let row = row(state);
    let fenced = state.dead_holders(row).all(|(_, _, holder)| holder.fenced);
    fenced && state.scan_obstacle(row, false).is_none_or(|obstacle| obstacle == AccountRefusal::InUse)
}

fn death(s: &S, state: &State, steps: &mut Vec<Step>) {
    let over = !state.epoch_alive(FIRST, EPOCH);
    match s.fate {
        Fate::Runs if s.deaths > 0 => steps.push(Step::LeaseDies),
        Fate::LeaseDead if !over => steps.push(Step::Expire),
        Fate::LeaseDead => {
            // What was checked and not called was perhaps never checked.
            let returned = |one: &&Operation| matches!(one.phase, Phase::Idle | Phase::Begun(_) | Phase::Over);
            if s.operations.iter().filter(|one| one.node == 0).all(|one| returned(&one)) {
                steps.push(Step::SettleDead);
            }
        }
        Fate::Runs | Fate::Settled => {}
    }
    if over && !s.fenced {
        steps.push(Step::Fence);
    }
}

pub fn take(model: &Live, before: &S, step: Step) -> S {
    let mut s = before.clone();
    match step {
        Step::Go(at) => operation::go(model, &mut s, at),
        Step::Settle(at) => {
            let state = view(model, &s, at);
            s.processes[at].settle(&state);
        }
        Step::CatchUp(at) => {
            s.processes[at].catch_up(&model.logs, &before.log);
            let word = s.processes[at].book.begin_word(&end(model, before));
            s.words[at] = s.words[at].or(word);
        }
        Step::Say(at) => say(model, &mut s, at),
        Step::Arrive { process, flight, again } => {
            let one = &mut s.processes[process].flights[flight];
            s.log.push(one.entry.clone());
            if again {
                s.repeats -= 1;
            } else {
                one.arrived = Some(s.log.len());
            }
        }
        Step::Hear { process, flight } => {
            let heard = s.processes[process].hear(&model.logs, &before.log, flight);
            if let Some((carried, reply, _)) = heard {
                s.processes[process].parcel_heard(carried, reply.is_ok());
            }
        }
        Step::Begin { again } => {
            s.scans -= 1;
            let begin = ScanBegin { account: ACCOUNT, node: SCANNER, epoch: SCANNER_EPOCH, force: false, live: true };
            plain(&mut s, AccountCommand::ScanBegin(begin), again);
            if let Ok(Done::Account(AccountDone::ScanBegun { begun })) = *model.logs.at(&s.log).reply() {
                s.scanner = Scanner::Walks { begun, walk: Walk::default() };
            }
        }
        Step::Walk => walk(model, &mut s),
        Step::Walked { again } => walked(model, &mut s, again),
        Step::Plain(at) => {
            let entry = s.plain.remove(at);
            s.log.push(entry);
        }
        Step::LeaseDies => (s.fate, s.deaths) = (Fate::LeaseDead, s.deaths - 1),
        Step::Expire => s.log.push(E::Expire { node: FIRST.0, epoch: EPOCH.0 }),
        Step::Fence => {
            for file in s.files.iter_mut().filter(|file| file.place == Place::Staging(0)) {
                *file = File { place: Place::Nowhere, size: 0 };
            }
            s.fenced = true;
            let fenced = Fenced { account: ACCOUNT, node: FIRST, epoch: EPOCH };
            s.log.push(E::Plain(AccountCommand::Fenced(fenced)));
        }
        Step::SettleDead => settle_dead(&mut s),
    }
    look_at_scan(model, &mut s);
    s
}

/// A scan that is over, or for which somebody will never say anything, is not waited for.
fn look_at_scan(model: &Live, s: &mut S) {
    let (Scanner::Walks { begun, .. } | Scanner::Waits { begun }) = s.scanner else { return };
    let state = end(model, s);
    let goes_on = |live: &LiveScan| live.awaited.iter().all(|(node, epoch)| state.epoch_alive(*node, *epoch));
    if !scan_of(&state, begun).is_some_and(goes_on) {
        s.scanner = Scanner::Idle;
    }
}

fn plain(s: &mut S, command: AccountCommand, again: bool) {
    s.log.push(E::Plain(command.clone()));
    if again {
        s.repeats -= 1;
        s.plain.push(E::Plain(command));
    }
}

fn say(model: &Live, s: &mut S, at: usize) {
    let Some(word) = s.words[at].take() else { return };
    let applied = view(model, s, at).applied_index();
    let process = &mut s.processes[at];
    let before = process.book.clone();
    let (packed, mut said) = process.book.word(word, applied);
    let mut packed = Some(packed);
    if word.1 && model.variant == Variant::NoDoubtOfHeldRoom {
        process.book = before.clone();
        packed = Some(process.book.settle(applied));
    }
    match model.variant {
        Variant::EmptyReport if word.1 => {
            if let Some(packed) = packed.take() {
                process.book.settled(packed, false);
            }
            let since = said.settlement.since;
            said.settlement = AccountSettlement { account: ACCOUNT, since, ..AccountSettlement::default() };
        }
        Variant::SilentMoving | Variant::SilentOldWriting | Variant::SilentHeld if word.1 => {
            let only_what_is_over = before.clone().settle(applied).settle();
            said.settlement.disturbed = only_what_is_over.accounts[0].disturbed;
        }
        _ => {}
    }
    let command = if word.1 { AccountCommand::ScanReport(said) } else { AccountCommand::ScanConfirm(said) };
    let number = process.number();
    process.send(number, command, Carried::Scan { word, packed });
}

fn walk(model: &Live, s: &mut S) {
    let Scanner::Walks { walk, .. } = &mut s.scanner else { return };
    let part = walk.part;
    walk.part += 1;
    if part + 1 == PARTS && model.variant == Variant::NoLastStaging {
        return;
    }
    let staging = part == 0 || part + 1 == PARTS;
    for (at, file) in s.files.iter().enumerate() {
        let here = match file.place {
            Place::Staging(_) => staging,
            Place::Folder(folder) => folder + 1 == part && !staging,
            Place::Nowhere | Place::Nameless => false,
        };
        if here {
            walk.seen[at] = walk.seen[at].max(file.size);
        }
        if here && staging {
            walk.staged[at] = walk.staged[at].max(file.size);
        }
    }
}

fn walked(model: &Live, s: &mut S, again: bool) {
    let Scanner::Walks { begun, walk } = s.scanner else { return };
    let sum = |sizes: [i64; 2]| Amount::new(sizes.iter().sum(), sizes.iter().filter(|size| **size > 0).count() as i64);
    let walked = Walked { found: sum(walk.seen), staged: sum(walk.staged) };
    plain(s, AccountCommand::ScanWalked(ScanWalked { account: ACCOUNT, begun, walked }), again);
    let taken = model.logs.at(&s.log).reply().is_ok();
    s.scanner = if taken { Scanner::Waits { begun } } else { Scanner::Idle };
}

/// The first node thaws: nothing of its epoch is called any more, what was not published is unlinked, then it says all in one.
fn settle_dead(s: &mut S) {
    for flight in std::mem::take(&mut s.processes[0].flights) {
        s.processes[0].parcel_heard(flight.carried, false);
        if flight.arrived.is_none() && s.repeats > 0 {
            // It may arrive still, and is stale.
            s.repeats -= 1;
            s.plain.push(flight.entry);
        }
    }
    for at in 0..s.operations.len() {
        if let Operation { node: 0, phase: Phase::Begun(mark), .. } = s.operations[at] {
            operation::never_called(s, at, mark);
        }
    }
    s.words[0] = None;
    s.fate = Fate::Settled;
    let book = &mut s.processes[0].book;
    book.leave();
    let command = book.settle_dead();
    s.log.push(E::Plain(AccountCommand::SettleDead(command)));
}
