//! What a step does, by the product's functions.

use std::sync::Arc;

use flotilla_cluster::Clocks;
use flotilla_cluster::lease::{EXPIRY_NS, HOLDER_NS};
use flotilla_model::{Epoch, State};
use flotilla_raft::testing::{Frozen, LeaseBook, due_expiry};
use tokio::sync::watch;

use super::{E, FIRST, HOLDER, Lease, Rates, Replica, S, Step, Variant, Wire};
use crate::logs::Point;

pub fn begin(model: &Lease, rates: Rates) -> S {
    let empty = || Replica { applied: 0, book: Frozen { next_number: 1, ..Frozen::default() } };
    let mut s = S {
        now: 0,
        rates,
        term: 1,
        leader: 1,
        base: 0,
        since: 0,
        log: Vec::new(),
        committed: 0,
        replicas: [empty(), empty(), empty()],
        wires: Vec::new(),
        decided: None,
        left: model.budget,
        renewed: false,
        snapshot_renewed: false,
        broken: None,
    };
    for replica in 0..3 {
        let mut book = s.book(replica);
        if replica == 0 {
            book.registration_sent(Epoch(0));
        }
        observe(&mut book, model.logs.base());
        s.replicas[replica].book = book.freeze();
    }
    s
}

fn observe(book: &mut LeaseBook, point: &Point) {
    book.observe(&point.entry, &point.applied.replies, &point.state);
    settle(book);
}

fn settle(book: &mut LeaseBook) {
    let (lease, renewed) = (watch::Sender::new(None), watch::Sender::new(0));
    book.settle(&lease, &renewed);
}

/// The end of the lease that the leader would propose now.
pub fn due(model: &Lease, s: &S) -> Option<E> {
    let state = &model.logs.at(&s.log[..s.replicas[s.leader].applied]).state;
    let row = state.node(HOLDER).filter(|row| row.alive)?;
    let note = s.book(s.leader).note(HOLDER);
    let mut now = s.clocks(s.leader);
    // The variant acts as if it were that much later.
    let early = EXPIRY_NS - model.expiry_ns();
    if early > 0 {
        now = Clocks { boot: now.boot + early, raw: now.raw + early };
    }
    let expire = due_expiry(row, note, None, now)?;
    let unconditional = model.variant == Variant::ExpiresUnconditionally;
    let seen = if unconditional { u64::MAX } else { expire.last_renewal };
    let expire = E::Expire { epoch: expire.epoch.0, seen };
    // One is under way: the leader proposes no second.
    (!s.log[s.replicas[s.leader].applied..].contains(&expire)).then_some(expire)
}

pub fn take(model: &Lease, before: &S, step: Step) -> Option<S> {
    let mut s = before.clone();
    match step {
        Step::Time { us } => s.now = us,
        Step::Send => send(&mut s)?,
        Step::Arrive { wire, again } => arrive(model, &mut s, &wire, again),
        Step::Commit => s.committed += 1,
        Step::Apply { replica } => apply(model, &mut s, replica),
        Step::Snapshot { replica } => snapshot(model, &mut s, replica),
        Step::Restart { replica } => restart(model, &mut s, replica),
        Step::Elect { replica, keeps } => elect(&mut s, replica, keeps),
        Step::Decide => s.decided = due(model, &s),
        Step::Append => s.log.extend(s.decided.take()),
        Step::Register => register(model, &mut s)?,
    }
    Some(s)
}

fn send(s: &mut S) -> Option<()> {
    s.left.renewals -= 1;
    let mut book = s.book(0);
    let epoch = s.replicas[0].book.lease?.epoch;
    let number = book.next_renewal(epoch)?;
    s.replicas[0].book = book.freeze();
    put(&mut s.wires, Wire::Renewal { epoch: epoch.0, number });
    Some(())
}

fn put(wires: &mut Vec<Wire>, wire: Wire) {
    wires.push(wire);
    wires.sort();
    wires.dedup();
}

fn register(model: &Lease, s: &mut S) -> Option<()> {
    s.left.registrations -= 1;
    let state = &model.logs.at(&s.log[..s.replicas[0].applied]).state;
    let replaces = state.node(HOLDER)?.last_epoch;
    let mut book = s.book(0);
    book.registration_sent(replaces);
    s.replicas[0].book = book.freeze();
    put(&mut s.wires, Wire::Registration { replaces: replaces.0 });
    Some(())
}

fn arrive(model: &Lease, s: &mut S, wire: &Wire, again: bool) {
    if again {
        s.left.repeats -= 1;
    } else {
        s.wires.retain(|other| other != wire);
    }
    let rate = s.rates.boot[s.leader].min(s.rates.raw[s.leader]);
    let leader_ms = if s.left.counted { (s.now - s.since) * rate / 1_000_000 } else { 0 };
    s.log.push(match *wire {
        Wire::Renewal { epoch, number } => E::Renew { term: s.term, leader_ms, epoch, number },
        Wire::Registration { replaces } => E::Register { replaces },
    });
    if let Wire::Renewal { epoch, number } = *wire
        && model.variant == Variant::CountsInMemory
    {
        let book = &mut s.replicas[0].book;
        let sent = book.sends.iter().find(|(sent, _)| *sent == number).map(|(_, sent)| *sent);
        if let (Some(sent), Some(lease)) = (sent, book.lease.as_mut().filter(|lease| lease.epoch.0 == epoch)) {
            lease.deadline = later(lease.deadline, ends(sent));
        }
    }
}

fn ends(sent: Clocks) -> Clocks {
    Clocks { boot: sent.boot + HOLDER_NS, raw: sent.raw + HOLDER_NS }
}

fn later(one: Clocks, other: Clocks) -> Clocks {
    Clocks { boot: one.boot.max(other.boot), raw: one.raw.max(other.raw) }
}

fn apply(model: &Lease, s: &mut S, replica: usize) {
    let applied = s.replicas[replica].applied + 1;
    s.replicas[replica].applied = applied;
    let point = model.logs.at(&s.log[..applied]);
    let before = s.replicas[replica].book.clone();
    let mut book = s.book(replica);
    let held = book.lease();
    observe(&mut book, &point);
    s.replicas[replica].book = book.freeze();
    if replica == 0 {
        if held.is_some_and(|held| book.lease().is_some_and(|now| now.epoch() != held.epoch()) && !held.is_dead()) {
            s.broken = Some("a lease that was replaced is alive");
        }
        vary(model, s, &before, &s.log[applied - 1].clone(), &point.state);
        judge(s, &before, &point.state);
    }
}

/// A lease ends by its deadlines or by the log, never otherwise.
fn judge(s: &mut S, before: &Frozen, state: &State) {
    let (Some(was), Some(is)) = (before.lease, s.replicas[0].book.lease) else { return };
    let ended = was.epoch == is.epoch && is.dead && !was.is_dead(s.clocks(0));
    if ended && state.epoch_alive(HOLDER, is.epoch) {
        s.broken = Some("its clocks were taken for stopped");
    }
    s.renewed |= was.epoch == is.epoch && is.deadline != was.deadline;
}

/// The variants that touch what the holder makes of an entry.
fn vary(model: &Lease, s: &mut S, before: &Frozen, entry: &E, state: &State) {
    let now = s.clocks(0);
    let Some(lease) = &mut s.replicas[0].book.lease else { return };
    let renewed = matches!(*entry, E::Renew { epoch, number, .. } if lease.epoch.0 == epoch
        && state.epoch_alive(HOLDER, lease.epoch)
        && state.node(HOLDER).is_some_and(|row| row.renewal == number));
    match model.variant {
        Variant::FromLastSend if renewed && !lease.dead => {
            if let Some((_, sent)) = before.sends.last() {
                lease.deadline = later(lease.deadline, ends(*sent));
            }
        }
        Variant::FromApply if renewed && !lease.dead => lease.deadline = later(lease.deadline, ends(now)),
        Variant::LateRenewalRevives => {
            let sent = before.sends.iter().find(|(sent, _)| matches!(entry, E::Renew { number, .. } if number == sent));
            if let Some((_, sent)) = sent
                && matches!(*entry, E::Renew { epoch, .. } if lease.epoch.0 == epoch)
            {
                lease.deadline = later(lease.deadline, ends(*sent));
                lease.dead = false;
            }
        }
        Variant::RegistrationFromApply if matches!(entry, E::Register { .. }) && lease.epoch.0 > FIRST => {
            lease.deadline = later(lease.deadline, ends(now));
        }
        _ => {}
    }
}

fn snapshot(model: &Lease, s: &mut S, replica: usize) {
    s.left.snapshots -= 1;
    s.replicas[replica].applied = s.committed;
    let point = model.logs.at(&s.log[..s.committed]);
    let before = s.replicas[replica].book.clone();
    let mut book = s.book(replica);
    book.note_everything(&point.state);
    settle(&mut book);
    s.replicas[replica].book = book.freeze();
    if replica == 0 {
        if model.variant == Variant::SnapshotFromLastSend
            && let (Some((_, sent)), Some(lease)) = (before.sends.last(), s.replicas[0].book.lease.as_mut())
            && !lease.dead
        {
            lease.deadline = later(lease.deadline, ends(*sent));
        }
        let renewed = s.renewed;
        judge(s, &before, &point.state);
        s.snapshot_renewed |= s.renewed && !renewed;
    }
}

fn restart(model: &Lease, s: &mut S, replica: usize) {
    s.left.restarts -= 1;
    let clock = Arc::new(super::At(s.clocks(replica)));
    let mut book = LeaseBook::new(flotilla_model::NodeId(replica as u64 + 1), 2, clock);
    book.note_everything(&model.logs.at(&s.log[..s.replicas[replica].applied]).state);
    settle(&mut book);
    s.replicas[replica].book = book.freeze();
    if model.variant == Variant::RestartKnowsNothing {
        for (_, note) in &mut s.replicas[replica].book.notes {
            note.at = Clocks { boot: super::BOOT, raw: super::RAW };
        }
    }
}

fn elect(s: &mut S, replica: usize, keeps: usize) {
    s.left.elections -= 1;
    s.term += 1;
    s.leader = replica;
    s.log.truncate(keeps);
    s.base = keeps;
    s.since = if s.left.counted { s.now } else { 0 };
    s.decided = None;
}
