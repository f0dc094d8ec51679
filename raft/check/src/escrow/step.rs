//! What a step does, by the product's functions.

use std::sync::Arc;

use flotilla_model::command::{AccountCommand, SettleDead, WaitOver};
use flotilla_model::{Amount, Epoch, Limits, NodeId, State};
use flotilla_session::ledger::steps::Steps;

use super::{Escrow, Phase, S, Step, Upload, Variant};
use crate::quota::{ACCOUNT, Carried, E, Process, bytes, given, limits, row, waits};

/// Numbers that only variants and words about waits use.
const ASIDE: u64 = 500;

pub fn begin(model: &Escrow) -> S {
    let state = &model.logs.base().state;
    let mut processes: Vec<Process> = [1, 2].map(|node| Process::begin(state, node)).to_vec();
    let uploads = model.uploads.iter().map(|(node, size, step)| {
        let process = *node as usize - 1;
        let number = processes[process].book.begin();
        Upload { process, number, size: *size, step: *step, written: 0, phase: Phase::Running }
    });
    let uploads = uploads.collect();
    S { log: Vec::new(), processes, uploads, published: 0, left: model.budget }
}

fn view(model: &Escrow, s: &S, process: usize) -> Arc<State> {
    Arc::clone(&model.logs.at(&s.log[..s.processes[process].applied]).state)
}

pub fn possible(model: &Escrow, s: &S, steps: &mut Vec<Step>) {
    for (at, upload) in s.uploads.iter().enumerate() {
        let process = &s.processes[upload.process];
        if process.lease_dead {
            continue;
        }
        match upload.phase {
            Phase::Running if upload.written == upload.size => steps.push(Step::Publish(at)),
            Phase::Waits(_) if s.left.ends_of_waits > 0 => steps.push(Step::EndWait(at)),
            Phase::Refused => steps.push(Step::Discard(at)),
            _ => {}
        }
        // One grant of a book is on its way at a time, and one ask of an upload.
        let may_ask = upload.phase == Phase::Running && !process.book.is_asking();
        let writes = matches!(upload.phase, Phase::Running | Phase::Asking | Phase::Waits(_));
        let ends = ends(upload).filter(|end| writes && (may_ask || fits(model, s, at, *end)));
        steps.extend(ends.map(|end| Step::Write { upload: at, end }));
    }
    for (at, process) in s.processes.iter().enumerate() {
        for (flight, one) in process.flights.iter().enumerate() {
            if one.arrived.is_none() {
                steps.push(Step::Arrive { process: at, flight, again: false });
            } else if s.left.repeats > 0 {
                steps.push(Step::Arrive { process: at, flight, again: true });
            }
            if one.arrived.is_some() && !process.lease_dead {
                steps.push(Step::Hear { process: at, flight });
            }
        }
        if process.lease_dead {
            let (node, epoch) = (NodeId(process.node), Epoch(process.epoch));
            if model.logs.at(&s.log).state.epoch_alive(node, epoch) {
                steps.push(Step::Expire(at));
            }
            continue;
        }
        if process.may_settle() {
            steps.push(Step::Settle(at));
        }
        if process.may_answer() && model.variant != Variant::NeverAnswers {
            steps.push(Step::Answer(at));
        }
        if has_news(model, s, process) {
            steps.push(Step::CatchUp(at));
        }
        if s.left.deaths > 0 {
            steps.push(Step::LeaseDies(at));
        }
    }
}

/// Whether catching up changes what the process knows of its account.
fn has_news(model: &Escrow, s: &S, process: &Process) -> bool {
    let (here, there) = (&model.logs.at(&s.log[..process.applied]).state, &model.logs.at(&s.log).state);
    let deaths = |state: &State| state.dead_holders(row(state)).count();
    row(here) != row(there) || deaths(here) != deaths(there)
}

fn fits(model: &Escrow, s: &S, at: usize, end: i64) -> bool {
    let upload = &s.uploads[at];
    let limits = limits(&view(model, s, upload.process));
    charges(model, &mut s.processes[upload.process].book.clone(), upload.number, limits, bytes(end))
}

fn charges(model: &Escrow, book: &mut Steps, number: u64, limits: Limits, total: Amount) -> bool {
    let found = model.variant == Variant::UsesWhatAnAskFound && (total - book.held(number)).at_least_zero().is_zero();
    found || book.raise_to(number, limits, total)
}

/// Where the writes end that would make it longer.
fn ends(upload: &Upload) -> impl Iterator<Item = i64> {
    let (step, size, written) = (upload.step, upload.size, upload.written);
    (1..=size).filter(move |end| *end > written && (end % step == 0 || *end == size))
}

pub fn take(model: &Escrow, before: &S, step: Step) -> S {
    let mut s = before.clone();
    match step {
        Step::Write { upload, end } => write(model, &mut s, upload, end),
        Step::Publish(at) => publish(model, &mut s, at),
        Step::Discard(at) => discard(model, &mut s, at),
        Step::EndWait(at) => end_wait(&mut s, at),
        Step::Settle(at) => {
            let state = view(model, &s, at);
            s.processes[at].settle(&state);
        }
        Step::Answer(at) => answer(model, &mut s, at),
        Step::CatchUp(at) => catch_up(model, &mut s, at),
        Step::Arrive { process, flight, again } => arrive(model, &mut s, process, flight, again),
        Step::Hear { process, flight } => hear(model, &mut s, process, flight),
        Step::LeaseDies(at) => {
            s.left.deaths -= 1;
            s.processes[at].lease_dead = true;
        }
        Step::Expire(at) => expire(model, &mut s, at),
    }
    s
}

fn write(model: &Escrow, s: &mut S, at: usize, end: i64) {
    let state = view(model, s, s.uploads[at].process);
    let upload = &mut s.uploads[at];
    let process = &mut s.processes[upload.process];
    let charged = charges(model, &mut process.book, upload.number, limits(&state), bytes(end));
    if charged || model.variant == Variant::WritesFirst {
        upload.written = end;
    }
    if charged {
        return;
    }
    let ask = process.ask(&state, at, upload.number, bytes(end));
    if model.variant == Variant::SpendsWhatItAskedFor {
        return process.book.granted(ask, limits(&state), ask.want - ask.part, state.applied_index());
    }
    upload.phase = Phase::Asking;
}

fn publish(model: &Escrow, s: &mut S, at: usize) {
    let upload = &mut s.uploads[at];
    let book = &mut s.processes[upload.process].book;
    s.published += std::mem::take(&mut upload.written);
    if model.variant == Variant::PublishesForFree {
        book.give_back(upload.number);
    }
    book.publish(upload.number);
    book.end(upload.number);
    upload.phase = Phase::Published;
}

/// The file first, its room then.
fn discard(model: &Escrow, s: &mut S, at: usize) {
    let upload = &mut s.uploads[at];
    let book = &mut s.processes[upload.process].book;
    if model.variant == Variant::GivesBackBeforeUnlink && book.held(upload.number).is_positive() {
        return book.give_back(upload.number);
    }
    upload.written = 0;
    upload.phase = Phase::Discarded;
    if model.variant != Variant::KeepsFailedRoom {
        book.give_back(upload.number);
        book.end(upload.number);
    }
}

fn end_wait(s: &mut S, at: usize) {
    s.left.ends_of_waits -= 1;
    let Phase::Waits(ask) = s.uploads[at].phase else { return };
    let process = &s.processes[s.uploads[at].process];
    let word = WaitOver { account: ACCOUNT, number: ask.ask, time_over: true, buffer_full: false, gone: false };
    let (node, epoch, number) = (process.node, process.epoch, ask.ask + ASIDE);
    s.log.push(E::Numbered { node, epoch, number, command: AccountCommand::WaitOver(word) });
}

fn answer(model: &Escrow, s: &mut S, at: usize) {
    let state = view(model, s, at);
    if model.variant == Variant::KeepsWhatItReturns {
        // A copy answers: the book itself goes on with all it had.
        let mut copy = s.processes[at].clone();
        copy.answer(&state);
        s.processes[at].next_number = copy.next_number;
        s.processes[at].owes_answer = false;
        return s.log.extend(copy.flights.pop().map(|flight| flight.entry));
    }
    s.processes[at].answer(&state);
}

fn catch_up(model: &Escrow, s: &mut S, at: usize) {
    s.processes[at].catch_up(&model.logs, &s.log);
    take_outcomes(s, at);
}

fn take_outcomes(s: &mut S, process: usize) {
    for upload in s.uploads.iter_mut().filter(|upload| upload.process == process) {
        let Phase::Waits(ask) = upload.phase else { continue };
        match s.processes[process].book.outcome(ask) {
            Some(true) => upload.phase = Phase::Running,
            Some(false) => upload.phase = Phase::Refused,
            None => {}
        }
    }
}

fn arrive(model: &Escrow, s: &mut S, process: usize, flight: usize, again: bool) {
    let one = &mut s.processes[process].flights[flight];
    let mut entry = one.entry.clone();
    if again {
        s.left.repeats -= 1;
        if let E::Numbered { number, .. } = &mut entry
            && model.variant == Variant::TakesTwice
        {
            *number += ASIDE;
        }
    }
    s.log.push(entry);
    if !again {
        one.arrived = Some(s.log.len());
    }
}

fn hear(model: &Escrow, s: &mut S, at: usize, flight: usize) {
    let process = &mut s.processes[at];
    let Some((carried, reply, _)) = process.hear(&model.logs, &s.log, flight) else { return };
    match carried {
        Carried::Grant { .. } if model.variant == Variant::SpendsWhatItAskedFor => {}
        Carried::Grant { upload, ask } => {
            let upload = &mut s.uploads[upload];
            match given(&reply) {
                Some((index, limits, amount)) => {
                    process.book.granted(ask, limits, amount, index);
                    upload.phase = Phase::Running;
                }
                None if waits(&reply) => {
                    process.book.waits();
                    upload.phase = Phase::Waits(ask);
                }
                None => {
                    process.book.gave_up(ask);
                    upload.phase = Phase::Refused;
                }
            }
        }
        other => process.parcel_heard(other, reply.is_ok()),
    }
    let applied = s.processes[at].applied;
    let log: Vec<E> = s.log[..applied].to_vec();
    s.processes[at].catch_up(&model.logs, &log);
    take_outcomes(s, at);
}

fn expire(model: &Escrow, s: &mut S, at: usize) {
    let (node, epoch) = (s.processes[at].node, s.processes[at].epoch);
    s.log.push(E::Expire { node, epoch });
    if model.variant == Variant::DeadGrantsAreFree {
        let state = Arc::clone(&model.logs.at(&s.log).state);
        let Some(holder) = row(&state).holders.get(&(NodeId(node), Epoch(epoch))) else { return };
        let free = SettleDead {
            account: ACCOUNT,
            node: NodeId(node),
            epoch: Epoch(epoch),
            since: holder.since,
            total: holder.settled_total,
            credits: Vec::new(),
            mark: false,
        };
        s.log.push(E::Plain(AccountCommand::SettleDead(free)));
    }
}
