//! What a step does, by the product's functions.

use std::sync::Arc;

use flotilla_model::command::CreditItem;
use flotilla_model::{Amount, CreditedInode, State};

use super::{Credits, Disk, FIRST_SIZE, Operation, Phase, S, Step, Storage, Variant, What};
use crate::quota::{Carried, E, Process, bytes, given, limits, row};

pub const NAME: u8 = 1;
const SECOND_NAME: u8 = 2;

pub fn begin(model: &Credits) -> S {
    let state = &model.logs.base().state;
    let mut disk = Disk::default();
    let first = disk.stage(0, FIRST_SIZE);
    disk.exchange(0, NAME, first);
    if model.second_name {
        disk.link_name(SECOND_NAME, first);
    }
    let operation = |(process, what): &(usize, What)| Operation {
        process: *process,
        what: *what,
        phase: Phase::Waiting,
        seen: None,
    };
    let mut s = S {
        log: Vec::new(),
        processes: [1, 2].map(|node| Process::begin(state, node)).to_vec(),
        operations: model.operations.iter().map(operation).collect(),
        disk,
        repeats: model.repeats,
        tells: model.tells,
    };
    if model.linked {
        // Staged, then linked.
        (0..2).for_each(|_| (0..model.operations.len()).for_each(|at| go(model, &mut s, at)));
    }
    s
}

fn view(model: &Credits, s: &S, process: usize) -> Arc<State> {
    Arc::clone(&model.logs.at(&s.log[..s.processes[process].applied]).state)
}

/// Whether catching up changes what the process knows of its account.
fn has_news(model: &Credits, s: &S, process: &Process) -> bool {
    let (here, there) = (&model.logs.at(&s.log[..process.applied]).state, &model.logs.at(&s.log).state);
    row(here) != row(there)
}

pub fn possible(model: &Credits, s: &S, steps: &mut Vec<Step>) {
    for (at, operation) in s.operations.iter().enumerate() {
        // Operations of one client come one after the other; a measure need not be waited for.
        let earlier = s.operations[..at].iter().any(|one| {
            let open =
                matches!(one.phase, Phase::Waiting | Phase::Asking | Phase::Staged { .. } | Phase::Linked { .. });
            one.process == operation.process && open
        });
        let asking = s.processes[operation.process].book.is_asking();
        let begins = operation.phase == Phase::Waiting;
        let goes = !matches!(operation.phase, Phase::Over | Phase::Asking);
        if goes && !(begins && (earlier || asking)) {
            steps.push(Step::Go(at));
        }
    }
    for (at, process) in s.processes.iter().enumerate() {
        for (flight, one) in process.flights.iter().enumerate() {
            if one.arrived.is_none() {
                steps.push(Step::Arrive { process: at, flight, again: false });
            } else {
                steps.push(Step::Hear { process: at, flight });
                if s.repeats > 0 {
                    steps.push(Step::Arrive { process: at, flight, again: true });
                }
            }
        }
        if process.may_settle() {
            steps.push(Step::Settle(at));
        }
        if has_news(model, s, process) {
            steps.push(Step::CatchUp(at));
        }
        if s.tells > 0 && !process.book.is_dirty() && !process.book.is_carrying() {
            steps.push(Step::Tell(at));
        }
    }
}

pub fn take(model: &Credits, before: &S, step: Step) -> S {
    let mut s = before.clone();
    match step {
        Step::Go(at) => go(model, &mut s, at),
        Step::Settle(at) => {
            let state = view(model, &s, at);
            s.processes[at].settle(&state);
        }
        Step::CatchUp(at) => s.processes[at].catch_up(&model.logs, &before.log),
        Step::Tell(at) => {
            s.tells -= 1;
            s.processes[at].book.tell();
        }
        Step::Arrive { process, flight, again } => {
            let one = &mut s.processes[process].flights[flight];
            s.log.push(one.entry.clone());
            if again {
                s.repeats -= 1;
            } else {
                one.arrived = Some(s.log.len());
            }
        }
        Step::Hear { process, flight } => hear(model, &mut s, process, flight),
    }
    s
}

fn hear(model: &Credits, s: &mut S, at: usize, flight: usize) {
    let process = &mut s.processes[at];
    let Some((carried, reply, _)) = process.hear(&model.logs, &s.log, flight) else { return };
    match carried {
        Carried::Grant { upload, ask } => {
            let Some((index, limits, amount)) = given(&reply) else { unreachable!("there is room for all") };
            process.book.granted(ask, limits, amount, index);
            stage(s, upload, ask.number);
        }
        other => process.parcel_heard(other, reply.is_ok()),
    }
    let applied = s.processes[at].applied;
    let log: Vec<E> = s.log[..applied].to_vec();
    s.processes[at].catch_up(&model.logs, &log);
}

fn stage(s: &mut S, at: usize, number: u64) {
    let operation = &mut s.operations[at];
    if let What::Replace(_, size) = operation.what {
        let file = s.disk.stage(operation.process, size);
        operation.phase = Phase::Staged { number, file };
    }
}

fn go(model: &Credits, s: &mut S, at: usize) {
    let Operation { process, what, phase, .. } = s.operations[at];
    let state = view(model, s, process);
    let name = match what {
        What::Remove(name) | What::Replace(name, _) => name,
    };
    match phase {
        Phase::Waiting => {
            if model.variant == Variant::StatsBeforeTheCapture && s.operations[at].seen.is_none() {
                let file = s.disk.at(name);
                s.operations[at].seen = file.and_then(|file| Some((file, s.disk.files.get(&file)?.size)));
                if s.operations[at].seen.is_some() {
                    return;
                }
            }
            start(model, s, at, &state, name);
        }
        Phase::Staged { number, file } => {
            let token = begin_measuring(model, s, process);
            publish(model, s, at, name, (number, file, token));
        }
        Phase::Linked { number, file, caught, token } => {
            s.disk.rename_over(process, name, file);
            charge(s, process, number);
            s.operations[at].phase = Phase::Caught { caught, token };
        }
        Phase::Caught { caught, token } => {
            let index = state.applied_index();
            let token = token.unwrap_or_else(|| s.processes[process].book.measuring(index));
            s.operations[at].phase = Phase::Measuring { caught, token, index };
        }
        Phase::Measuring { caught, token, index } => measure(model, s, at, (caught, token, index)),
        Phase::Asking | Phase::Over => {}
    }
}

/// Before the capture.
fn begin_measuring(model: &Credits, s: &mut S, process: usize) -> Option<u64> {
    let index = view(model, s, process).applied_index();
    let book = &mut s.processes[process].book;
    match model.variant {
        Variant::TellsAfterTheCapture => None,
        Variant::MeasuresInSecret => {
            let token = book.measuring(index);
            book.measured(token, None);
            Some(token)
        }
        _ => Some(book.measuring(index)),
    }
}

/// What was caught, or nothing.
fn caught(s: &mut S, process: usize, caught: Option<u64>, token: Option<u64>) -> Phase {
    match (caught, token) {
        (Some(caught), token) => Phase::Caught { caught, token },
        (None, Some(token)) => {
            s.processes[process].book.measured(token, None);
            Phase::Over
        }
        (None, None) => Phase::Over,
    }
}

fn start(model: &Credits, s: &mut S, at: usize, state: &State, name: u8) {
    let Operation { process, what, .. } = s.operations[at];
    match what {
        What::Remove(_) => {
            let token = begin_measuring(model, s, process);
            let found = s.disk.capture(process, name);
            s.operations[at].phase = caught(s, process, found, token);
        }
        What::Replace(_, size) => {
            let one = &mut s.processes[process];
            let number = one.book.begin();
            if one.book.raise_to(number, limits(state), bytes(size)) {
                stage(s, at, number);
            } else {
                one.ask(state, at, number, bytes(size));
                s.operations[at].phase = Phase::Asking;
            }
        }
    }
}

fn publish(model: &Credits, s: &mut S, at: usize, name: u8, (number, file, token): (u64, u64, Option<u64>)) {
    let process = s.operations[at].process;
    if model.storage == Storage::Exchanges || s.disk.at(name).is_none() {
        let found = s.disk.exchange(process, name, file);
        charge(s, process, number);
        s.operations[at].phase = caught(s, process, found, token);
    } else if let Some(caught) = s.disk.link_into_staging(process, name) {
        s.operations[at].phase = Phase::Linked { number, file, caught, token };
    }
}

fn charge(s: &mut S, process: usize, number: u64) {
    let book = &mut s.processes[process].book;
    book.publish(number);
    book.end(number);
}

/// `stat`, unlink, credit if no other link was left (`CaughtFile::measure`).
fn measure(model: &Credits, s: &mut S, at: usize, (caught, token, index): (u64, u64, u64)) {
    let Operation { process, seen, .. } = s.operations[at];
    let links = s.disk.links(model.storage, process, caught);
    let Some(file) = s.disk.files.get(&caught).cloned() else { return };
    if model.variant != Variant::KeepsTheCaughtFile {
        s.disk.unlink_staged(process, caught);
    }
    let is_last = links == 1 || model.variant == Variant::IgnoresLinks;
    // In the variant: of what was looked at, whichever file was caught then.
    let size = seen.map_or(file.size, |(_, size)| size);
    let (inode, birth) = (file.inode, file.birth);
    let birth_ns = if model.variant == Variant::NamesWithoutBirth { 1 } else { birth };
    let item = CreditItem { amount: Amount::new(size, 1), inode: CreditedInode { inode, birth_ns }, measured: index };
    s.processes[process].book.measured(token, is_last.then_some(item));
    if !is_last {
        s.processes[process].book.mark();
    }
    s.operations[at].phase = Phase::Over;
}
