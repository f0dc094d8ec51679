//! What a step does, by the product's functions.

use std::sync::Arc;

use flotilla_model::command::{AccountCommand, CreditItem, Fenced, ScanBegin, ScanCommit, SettleDead};
use flotilla_model::reply::AccountDone;
use flotilla_model::{Amount, CreditedInode, Done, Epoch, NodeId, State};

use super::{FOUND, Fate, Guest, Job, REMOVED, ROOM, Removal, S, Scan, Scanner, Step, Variant};
use crate::quota::{ACCOUNT, Carried, E, Process, bytes, given, limits, row};
use crate::world::FIRST_EPOCH;

const FIRST: NodeId = NodeId(1);
const EPOCH: Epoch = Epoch(FIRST_EPOCH);
const SECOND: NodeId = NodeId(2);
const SECOND_EPOCH: Epoch = Epoch(FIRST_EPOCH + 1);
const UPLOADED: i64 = 2;
const GROWN: i64 = 1;

pub fn begin(model: &Scan) -> S {
    S {
        log: Vec::new(),
        first: Process::begin(&model.logs.base().state, FIRST.0),
        fate: Fate::Runs,
        upload: if model.jobs.upload { Job::Idle } else { Job::Over },
        in_place: if model.jobs.in_place { Job::Idle } else { Job::Over },
        removal: if model.jobs.remove { Removal::Idle } else { Removal::Over },
        plain: Vec::new(),
        applied: 0,
        scanner: Scanner::Idle,
        guest: if model.jobs.guest { Guest::Away } else { Guest::Gone },
        second: None,
        named: FOUND,
        staged: 0,
        caught: 0,
        fenced: false,
        told: false,
        removed_late: false,
        scans: model.jobs.scans,
        repeats: model.jobs.repeats,
    }
}

fn end(model: &Scan, s: &S) -> Arc<State> {
    Arc::clone(&model.logs.at(&s.log).state)
}

fn view(model: &Scan, s: &S) -> Arc<State> {
    Arc::clone(&model.logs.at(&s.log[..s.applied]).state)
}

fn unfenced(state: &State) -> bool {
    state.dead_holders(row(state)).any(|(_, _, holder)| !holder.fenced)
}

pub fn possible(model: &Scan, s: &S, steps: &mut Vec<Step>) {
    let runs = s.fate == Fate::Runs;
    let goes = |job: Job| match job {
        Job::Idle => runs && !s.first.book.is_asking(),
        Job::Charged(_) => runs,
        Job::Checked(_) => matches!(s.fate, Fate::Runs | Fate::LeaseDead),
        Job::Asking | Job::Over => false,
    };
    if goes(s.upload) {
        steps.push(Step::Upload);
    }
    if goes(s.in_place) {
        steps.push(Step::InPlace);
    }
    // What is caught is measured in any case, also behind a cut.
    let measures = s.fate == Fate::LeaseDead && !matches!(s.removal, Removal::Idle | Removal::Over);
    if (runs && s.removal != Removal::Over) || measures {
        steps.push(Step::Remove);
    }
    if runs && s.first.may_settle() {
        steps.push(Step::Settle);
    }
    for (flight, one) in s.first.flights.iter().enumerate() {
        match one.arrived {
            None => steps.push(Step::Arrive { flight }),
            Some(_) if runs => steps.push(Step::Hear { flight }),
            Some(_) => {}
        }
    }
    let over = !end(model, s).epoch_alive(FIRST, EPOCH);
    match s.fate {
        Fate::Runs => steps.push(Step::LeaseDies),
        Fate::LeaseDead => {
            if !over {
                steps.push(Step::Expire);
            }
            steps.push(Step::Kill);
            let checked = |job| matches!(job, Job::Checked(_));
            let measured = matches!(s.removal, Removal::Idle | Removal::Over);
            if over && measured && !checked(s.upload) && !checked(s.in_place) {
                steps.push(Step::SettleDead);
            }
        }
        Fate::Killed if end(model, s).node(FIRST).is_some_and(|node| node.start == 1) => {
            steps.push(Step::RegisterLater)
        }
        Fate::Killed | Fate::Settled => {}
    }
    for at in 0..s.plain.len() {
        steps.push(Step::Plain { at, again: false });
        if s.repeats > 0 {
            steps.push(Step::Plain { at, again: true });
        }
    }
    second(model, s, steps);
}

fn second(model: &Scan, s: &S, steps: &mut Vec<Step>) {
    if s.applied < s.log.len() {
        steps.push(Step::CatchUp);
    }
    let state = view(model, s);
    let dead = unfenced(&state);
    if dead && !s.told {
        steps.push(Step::Fence);
    }
    let early = model.variant == Variant::WalksBeforeTheBegin;
    let force = row(&state).forced || model.variant == Variant::ForcesAlways;
    let may_begin = state.wants_scan(row(&state)) && state.scan_obstacle(row(&state), force).is_none() && !dead;
    match s.scanner {
        Scanner::Idle if early && s.scans > 0 => steps.push(Step::Walk),
        Scanner::Idle | Scanner::Walked { begun: 0, .. } if s.scans > 0 && may_begin => steps.push(Step::Begin),
        Scanner::Begun { .. } | Scanner::Tree { .. } => steps.push(Step::Walk),
        Scanner::Walked { begun, .. } if begun > 0 => steps.push(Step::Commit),
        _ => {}
    }
    let asking = s.second.as_ref().is_some_and(|process| process.book.is_asking());
    match s.guest {
        Guest::Away => steps.push(Step::Guest),
        // Before the first change behind an epoch's end that epoch is fenced.
        Guest::Here(Job::Idle | Job::Charged(_)) if !dead || s.told => steps.push(Step::Guest),
        Guest::Here(Job::Over) if !asking => {
            let process = s.second.as_ref();
            if process.is_some_and(|process| process.may_settle() || process.flights.is_empty()) {
                steps.push(Step::Guest);
            }
        }
        _ => {}
    }
    for (flight, one) in s.second.iter().flat_map(|process| process.flights.iter().enumerate()) {
        steps.push(if one.arrived.is_none() { Step::GuestArrives { flight } } else { Step::GuestHears { flight } });
    }
}

pub fn take(model: &Scan, before: &S, step: Step) -> S {
    let mut s = before.clone();
    match step {
        Step::Upload => s.upload = go(model, &mut s, before.upload, UPLOADED, 0),
        Step::InPlace => s.in_place = go(model, &mut s, before.in_place, GROWN, 1),
        Step::Remove => remove(model, &mut s),
        Step::Settle => {
            let state = Arc::clone(&model.logs.at(&s.log[..s.first.applied]).state);
            s.first.settle(&state);
        }
        Step::Arrive { flight } => {
            s.log.push(s.first.flights[flight].entry.clone());
            s.first.flights[flight].arrived = Some(s.log.len());
        }
        Step::Hear { flight } => hear(model, &mut s, flight),
        Step::LeaseDies => s.fate = Fate::LeaseDead,
        Step::Expire => expire(model, &mut s),
        Step::Kill => s.fate = Fate::Killed,
        Step::SettleDead => settle_dead(model, &mut s),
        Step::RegisterLater => s.log.push(E::Register { node: 1, start: 2, replaces: EPOCH.0 }),
        Step::Plain { at, again } => plain(&mut s, at, again),
        Step::CatchUp => {
            s.applied = s.log.len();
            if let Some(process) = &mut s.second {
                process.catch_up(&model.logs, &before.log);
            }
        }
        Step::Fence => {
            if model.variant != Variant::FencesInWordOnly {
                (s.staged, s.caught) = (0, 0);
                s.fenced = model.variant != Variant::FenceLeavesTheFolder;
            }
            s.told = true;
            let fenced = Fenced { account: ACCOUNT, node: FIRST, epoch: EPOCH };
            s.plain.push(E::Plain(AccountCommand::Fenced(fenced)));
        }
        Step::Begin => begin_scan(model, &mut s),
        Step::Walk => walk(&mut s),
        Step::Commit => {
            let Scanner::Walked { begun, found } = s.scanner else { unreachable!("it was walked") };
            let commit = ScanCommit { account: ACCOUNT, begun, found: Amount::new(found, 2) };
            s.log.push(E::Plain(AccountCommand::ScanCommit(commit)));
            s.applied = s.log.len();
            s.scanner = Scanner::Idle;
        }
        Step::Guest => guest(model, &mut s),
        Step::GuestArrives { flight } => {
            let process = s.second.as_mut().expect("a guest");
            s.log.push(process.flights[flight].entry.clone());
            process.flights[flight].arrived = Some(s.log.len());
        }
        Step::GuestHears { flight } => guest_hears(model, &mut s, flight),
    }
    s
}

/// One step of an upload or a write in place: charged, checked, called.
fn go(model: &Scan, s: &mut S, job: Job, size: i64, which: usize) -> Job {
    match job {
        Job::Idle => {
            let state = Arc::clone(&model.logs.at(&s.log[..s.first.applied]).state);
            let number = s.first.book.begin();
            if s.first.book.raise_to(number, limits(&state), bytes(size)) {
                return charged(s, number, which);
            }
            s.first.ask(&state, which, number, bytes(size));
            Job::Asking
        }
        Job::Charged(number) => Job::Checked(number),
        Job::Checked(number) => {
            if which == 0 {
                // Of a fenced folder nothing can be published.
                s.named += std::mem::take(&mut s.staged);
            } else {
                s.named += size;
            }
            if which == 1 || !s.fenced {
                s.first.book.publish(number);
            } else {
                s.first.book.give_back(number);
            }
            s.first.book.end(number);
            Job::Over
        }
        Job::Asking | Job::Over => job,
    }
}

fn charged(s: &mut S, number: u64, which: usize) -> Job {
    if which == 0 {
        s.staged += UPLOADED;
    }
    Job::Charged(number)
}

fn remove(model: &Scan, s: &mut S) {
    s.removal = match s.removal {
        Removal::Idle => {
            let index = model.logs.at(&s.log[..s.first.applied]).state.applied_index();
            Removal::Checked { token: s.first.book.measuring(index) }
        }
        Removal::Checked { token } if s.fenced => {
            // There is no folder to move it into.
            s.removed_late = true;
            s.first.book.measured(token, None);
            Removal::Over
        }
        Removal::Checked { token } => {
            (s.named, s.caught) = (s.named - REMOVED, s.caught + REMOVED);
            Removal::Caught { token }
        }
        Removal::Caught { token } => {
            let index = model.logs.at(&s.log[..s.first.applied]).state.applied_index();
            Removal::Measured { token, index }
        }
        Removal::Measured { token, .. } if s.caught == 0 => {
            // A fence was quicker: nothing to be measured.
            s.first.book.measured(token, None);
            if model.variant != Variant::NoMarkForTheUnmeasured {
                s.first.book.mark();
            }
            Removal::Over
        }
        Removal::Measured { token, index } => {
            s.caught -= REMOVED;
            let inode = CreditedInode { inode: 7, birth_ns: 1 };
            let item = CreditItem { amount: Amount::new(REMOVED, 1), inode, measured: index };
            s.first.book.measured(token, Some(item));
            Removal::Over
        }
        Removal::Over => Removal::Over,
    };
}

fn hear(model: &Scan, s: &mut S, flight: usize) {
    let Some((carried, reply, _)) = s.first.hear(&model.logs, &s.log, flight) else { return };
    match carried {
        Carried::Grant { upload, ask } => {
            let Some((index, limits, amount)) = given(&reply) else {
                // Its epoch is over: nothing was written.
                return s.first.book.gave_up(ask);
            };
            s.first.book.granted(ask, limits, amount, index);
            let job = charged(s, ask.number, upload);
            if upload == 0 { s.upload = job } else { s.in_place = job }
        }
        other => s.first.parcel_heard(other, reply.is_ok()),
    }
}

fn expire(model: &Scan, s: &mut S) {
    s.log.push(E::Expire { node: FIRST.0, epoch: EPOCH.0 });
    let state = end(model, s);
    if model.variant == Variant::DeadGrantsAreFree
        && let Some(holder) = row(&state).holders.get(&(FIRST, EPOCH))
    {
        let (since, total) = (holder.since, holder.settled_total);
        let free =
            SettleDead { account: ACCOUNT, node: FIRST, epoch: EPOCH, since, total, credits: Vec::new(), mark: false };
        s.log.push(E::Plain(AccountCommand::SettleDead(free)));
    }
}

/// It thaws: nothing of its epoch is called any more, what was not published is unlinked, then it says all in one.
fn settle_dead(model: &Scan, s: &mut S) {
    for flight in std::mem::take(&mut s.first.flights) {
        match flight.carried {
            Carried::Grant { ask, .. } => s.first.book.gave_up(ask),
            other => s.first.parcel_heard(other, false),
        }
        if flight.arrived.is_none() {
            // It may arrive still, and is stale.
            s.plain.push(flight.entry);
        }
    }
    for job in [&mut s.upload, &mut s.in_place] {
        if let Job::Charged(number) = *job {
            s.first.book.give_back(number);
            s.first.book.end(number);
        }
        *job = Job::Over;
    }
    s.staged = 0;
    s.removal = Removal::Over;
    s.first.book.leave();
    s.fate = Fate::Settled;
    let mut command = s.first.book.settle_dead();
    if model.variant == Variant::SettlesDeadTwice
        && let Some(holder) = row(&end(model, s)).holders.get(&(FIRST, EPOCH))
    {
        command.total += holder.settled_total;
    }
    s.plain.push(E::Plain(AccountCommand::SettleDead(command)));
}

fn plain(s: &mut S, at: usize, again: bool) {
    let entry = s.plain[at].clone();
    if again {
        s.repeats -= 1;
    } else {
        s.plain.remove(at);
    }
    s.log.push(entry);
}

fn begin_scan(model: &Scan, s: &mut S) {
    s.scans -= 1;
    let state = view(model, s);
    let force = row(&state).forced || model.variant == Variant::ForcesAlways;
    let begin = ScanBegin { account: ACCOUNT, node: SECOND, epoch: SECOND_EPOCH, force, live: false };
    s.log.push(E::Plain(AccountCommand::ScanBegin(begin)));
    s.applied = s.log.len();
    let reply = model.logs.at(&s.log).reply().clone();
    let Ok(Done::Account(AccountDone::ScanBegun { begun })) = reply else {
        s.scanner = Scanner::Idle;
        return;
    };
    s.scanner = match s.scanner {
        Scanner::Walked { found, .. } => Scanner::Walked { begun, found },
        _ => Scanner::Begun { begun },
    };
}

fn walk(s: &mut S) {
    s.scanner = match s.scanner {
        Scanner::Idle => Scanner::Tree { begun: 0, found: s.named },
        Scanner::Begun { begun } => Scanner::Tree { begun, found: s.named },
        Scanner::Tree { begun, found } => Scanner::Walked { begun, found: found + s.staged + s.caught },
        walked => walked,
    };
}

fn guest(model: &Scan, s: &mut S) {
    match s.guest {
        Guest::Away => {
            s.log.push(E::Open { node: SECOND.0, epoch: SECOND_EPOCH.0, ahead: ROOM });
            s.applied = s.log.len();
            let mut process = Process::begin(&end(model, s), SECOND.0);
            process.applied = s.log.len();
            s.second = Some(process);
            s.guest = Guest::Here(Job::Idle);
        }
        Guest::Here(Job::Idle) => {
            let state = view(model, s);
            let process = s.second.as_mut().expect("a guest");
            let number = process.book.begin();
            let raised = process.book.raise_to(number, limits(&state), bytes(GROWN));
            if !raised {
                process.ask(&state, 0, number, bytes(GROWN));
            }
            s.guest = Guest::Here(if raised { Job::Charged(number) } else { Job::Asking });
        }
        Guest::Here(Job::Charged(number)) => {
            let process = s.second.as_mut().expect("a guest");
            s.named += GROWN;
            process.book.publish(number);
            process.book.end(number);
            process.book.leave();
            s.guest = Guest::Here(Job::Over);
        }
        Guest::Here(Job::Over) => {
            let state = view(model, s);
            let process = s.second.as_mut().expect("a guest");
            if process.may_settle() {
                process.settle(&state);
            } else {
                process.send_close();
                s.guest = Guest::Closing;
            }
        }
        _ => {}
    }
}

fn guest_hears(model: &Scan, s: &mut S, flight: usize) {
    let process = s.second.as_mut().expect("a guest");
    let Some((carried, reply, _)) = process.hear(&model.logs, &s.log, flight) else { return };
    match carried {
        Carried::Grant { ask, .. } => match given(&reply) {
            Some((index, limits, amount)) => {
                process.book.granted(ask, limits, amount, index);
                s.guest = Guest::Here(Job::Charged(ask.number));
            }
            // Not before a scan: it gives up.
            None => {
                process.book.gave_up(ask);
                process.book.end(ask.number);
                process.book.leave();
                s.guest = Guest::Here(Job::Over);
            }
        },
        Carried::Close => (s.guest, s.second) = (Guest::Gone, None),
        other => process.parcel_heard(other, reply.is_ok()),
    }
    s.applied = s.log.len();
}
