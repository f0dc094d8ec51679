//! What a step does, by the product's functions.

use std::sync::Arc;

use flotilla_cluster::{Clock, Clocks, Lease};
use flotilla_model::{CommandId, Epoch, NodeId, SessionId, State};

use super::{Connection, E, Id, NODES, Node, Phase, S, Slots, Step, Variant};

/// Numbers that only variants use.
const ASTRAY: u64 = 500;

struct Still;

impl Clock for Still {
    fn now(&self) -> Clocks {
        Clocks::default()
    }
}

pub fn begin(model: &Slots) -> S {
    let state = &model.logs.base().state;
    let node = |node: usize| Node {
        epoch: state.node(node_id(node)).map_or(0, |row| row.last_epoch.0),
        lease_dead: false,
        issued: 0,
        answered: Vec::new(),
        applied: 0,
    };
    let connection = |node: &usize| Connection { node: *node, epoch: 0, phase: Phase::Idle };
    S {
        log: Vec::new(),
        nodes: std::array::from_fn(node),
        connections: model.connections.iter().map(connection).collect(),
        wires: Vec::new(),
        left: model.budget,
    }
}

fn node_id(node: usize) -> NodeId {
    NodeId(node as u64 + 1)
}

fn view(model: &Slots, s: &S, node: usize) -> Arc<State> {
    Arc::clone(&model.logs.at(&s.log[..s.nodes[node].applied]).state)
}

/// Whether the node has applied that this session must not go on.
pub fn is_cut(model: &Slots, s: &S, connection: &Connection, number: u64) -> bool {
    let state = view(model, s, connection.node);
    let id = SessionId { node: node_id(connection.node), epoch: Epoch(connection.epoch), number };
    state.session(id).is_none_or(|row| state.session_cut(row).is_some())
}

/// Whether the node has applied that the connection's epoch is over.
fn epoch_is_over(model: &Slots, s: &S, connection: &Connection) -> bool {
    !view(model, s, connection.node).epoch_alive(node_id(connection.node), Epoch(connection.epoch))
}

/// The number whose answer a connection waits for.
fn awaited(phase: Phase) -> Option<u64> {
    match phase {
        Phase::Opening { number, .. } => Some(number),
        Phase::Open { adding, .. } | Phase::Ending { adding, .. } => Some(adding).filter(|adding| *adding > 0),
        Phase::Closing { close, .. } => Some(close),
        Phase::Idle | Phase::Over => None,
    }
}

fn id_of(e: &E) -> Option<Id> {
    match e {
        E::Open(id) | E::Add(id, _) | E::Close(id, _) => Some(*id),
        _ => None,
    }
}

/// Whose sessions an entry concerns: what others do changes nothing for a node.
fn node_of(e: &E) -> u64 {
    match e {
        E::Open(id) | E::Add(id, _) | E::Close(id, _) => id.node,
        E::Kill { node, .. } | E::Expire { node, .. } | E::Register { node, .. } => *node,
    }
}

/// Where the node has applied the answer that the connection waits for; the latest one.
fn answer_at(s: &S, connection: &Connection) -> Option<usize> {
    let number = awaited(connection.phase)?;
    let node = connection.node as u64 + 1;
    let is_it = |id: Id| (id.node, id.epoch, id.number) == (node, connection.epoch, number);
    s.log[..s.nodes[connection.node].applied].iter().rposition(|e| id_of(e).is_some_and(is_it))
}

pub fn possible(model: &Slots, s: &S, steps: &mut Vec<Step>) {
    for (number, connection) in s.connections.iter().enumerate() {
        let node = &s.nodes[connection.node];
        match connection.phase {
            Phase::Idle if !node.lease_dead => steps.push(Step::Login(number)),
            Phase::Opening { client_gone: false, .. } => steps.push(Step::ClientLeaves(number)),
            Phase::Open { adding, .. } => {
                if adding == 0 && s.left.adds > 0 && !node.lease_dead {
                    steps.push(Step::AddChannel(number));
                }
                steps.push(Step::End(number));
                if s.left.kills > 0 {
                    steps.push(Step::Kill(number));
                }
            }
            Phase::Ending { adding: 0, .. } => steps.push(Step::ProposeClose(number)),
            _ => {}
        }
        let began = !matches!(connection.phase, Phase::Idle | Phase::Over);
        if began && (answer_at(s, connection).is_some() || epoch_is_over(model, s, connection)) {
            steps.push(Step::Hear(number));
        }
    }
    for wire in &s.wires {
        steps.push(Step::Arrive { wire: *wire, again: false });
        if s.left.repeats > 0 {
            steps.push(Step::Arrive { wire: *wire, again: true });
        }
    }
    let state = &model.logs.at(&s.log).state;
    for node in 0..NODES {
        let one = &s.nodes[node];
        if s.log[one.applied..].iter().any(|e| node_of(e) == node as u64 + 1) {
            steps.push(Step::CatchUp(node));
        }
        if !one.lease_dead && s.left.deaths > 0 {
            steps.push(Step::LeaseDies(node));
        }
        let may_expire = one.lease_dead || (model.variant == Variant::ExpiresALivingLease && s.left.deaths > 0);
        if may_expire && state.epoch_alive(node_id(node), Epoch(one.epoch)) {
            steps.push(Step::Expire(node));
        }
        let asked =
            s.log[one.applied..].iter().any(|e| matches!(e, E::Register { node: n, .. } if *n == node as u64 + 1));
        if one.lease_dead && !asked {
            steps.push(Step::Register(node));
        }
    }
}

pub fn take(model: &Slots, before: &S, step: Step) -> S {
    let mut s = before.clone();
    match step {
        Step::Login(at) => {
            let node = s.connections[at].node;
            let id = next_id(model, &mut s, node);
            s.connections[at].epoch = id.epoch;
            s.connections[at].phase = Phase::Opening { number: id.number, client_gone: false };
            put(&mut s.wires, E::Open(id));
        }
        Step::ClientLeaves(at) => client_leaves(model, &mut s, at),
        Step::AddChannel(at) => {
            s.left.adds -= 1;
            let id = next_id(model, &mut s, before.connections[at].node);
            if let Phase::Open { number, adding, .. } = &mut s.connections[at].phase {
                *adding = id.number;
                let add = E::Add(id, *number);
                put(&mut s.wires, add);
            }
        }
        Step::End(at) => {
            if let Phase::Open { number, adding, .. } = s.connections[at].phase {
                s.connections[at].phase = Phase::Ending { number, adding };
            }
        }
        Step::ProposeClose(at) => {
            if let Phase::Ending { number, .. } = s.connections[at].phase {
                let id = next_id(model, &mut s, before.connections[at].node);
                s.connections[at].phase = Phase::Closing { number, close: id.number };
                put(&mut s.wires, E::Close(id, number));
            }
        }
        Step::Hear(at) => hear(model, &mut s, at),
        Step::Arrive { wire, again } => arrive(model, &mut s, wire, again),
        Step::CatchUp(node) => catch_up(model, &mut s, node),
        Step::LeaseDies(node) => {
            s.left.deaths -= 1;
            s.nodes[node].lease_dead = true;
        }
        Step::Expire(node) => {
            s.left.deaths = s.left.deaths.saturating_sub(u8::from(!s.nodes[node].lease_dead));
            let epoch = s.nodes[node].epoch;
            s.log.push(E::Expire { node: node as u64 + 1, epoch });
        }
        Step::Register(node) => {
            let replaces = view(model, &s, node).node(node_id(node)).map_or(0, |row| row.last_epoch.0);
            s.log.push(E::Register { node: node as u64 + 1, replaces });
        }
        Step::Kill(at) => kill(model, &mut s, at),
    }
    s
}

/// The lease's own count of numbers and answers.
fn next_id(model: &Slots, s: &mut S, node: usize) -> Id {
    let one = &mut s.nodes[node];
    let lease = Lease::new(node_id(node), Epoch(one.epoch), Arc::new(Still), Clocks::default());
    (0..one.issued).for_each(|_| _ = lease.number());
    one.answered.iter().for_each(|number| lease.answered(*number));
    let CommandId::Node { number, answered_below, .. } = lease.number() else {
        unreachable!("a lease numbers its commands")
    };
    one.issued = number;
    let answered_below = if model.variant == Variant::ClaimsAllAnswers { number } else { answered_below };
    Id { node: node as u64 + 1, epoch: one.epoch, number, answered_below }
}

fn put(wires: &mut Vec<E>, wire: E) {
    wires.push(wire);
    wires.sort();
}

fn answered(s: &mut S, connection: Connection, number: u64) {
    let node = &mut s.nodes[connection.node];
    if node.epoch == connection.epoch {
        node.answered.push(number);
        node.answered.sort_unstable();
    }
}

fn client_leaves(model: &Slots, s: &mut S, at: usize) {
    let connection = s.connections[at];
    let Phase::Opening { number, .. } = connection.phase else { return };
    if model.variant == Variant::GivesUpUnknownOpens {
        answered(s, connection, number);
        s.connections[at].phase = Phase::Over;
    } else {
        s.connections[at].phase = Phase::Opening { number, client_gone: true };
    }
}

fn hear(model: &Slots, s: &mut S, at: usize) {
    let connection = s.connections[at];
    if epoch_is_over(model, s, &connection) {
        s.connections[at].phase = Phase::Over;
        return;
    }
    let Some(place) = answer_at(s, &connection) else { return };
    let taken = model.logs.at(&s.log[..=place]).reply().is_ok();
    if let Some(number) = awaited(connection.phase) {
        answered(s, connection, number);
    }
    s.connections[at].phase = match connection.phase {
        Phase::Opening { number, client_gone: false } if taken => Phase::Open { number, adding: 0, channels: 1 },
        Phase::Opening { number, client_gone: true } if taken && model.variant != Variant::ForgetsWhoLeft => {
            Phase::Ending { number, adding: 0 }
        }
        Phase::Open { number, channels, .. } => Phase::Open { number, adding: 0, channels: channels + u8::from(taken) },
        Phase::Ending { number, .. } => Phase::Ending { number, adding: 0 },
        _ => Phase::Over,
    };
}

fn arrive(model: &Slots, s: &mut S, wire: E, again: bool) {
    if again {
        s.left.repeats -= 1;
    } else if let Some(at) = s.wires.iter().position(|other| *other == wire) {
        s.wires.remove(at);
    }
    let state = Arc::clone(&model.logs.at(&s.log).state);
    let astray = |id: Id| match model.variant {
        Variant::TakesTwice if s.log.contains(&wire) => Id { number: id.number + ASTRAY, ..id },
        Variant::TakesOldEpochs if !state.epoch_alive(NodeId(id.node), Epoch(id.epoch)) => {
            let epoch = state.node(NodeId(id.node)).map_or(0, |row| row.last_epoch.0);
            Id { number: id.number + ASTRAY, epoch, ..id }
        }
        _ => id,
    };
    s.log.push(match wire {
        E::Open(id) => E::Open(astray(id)),
        E::Add(id, number) => E::Add(astray(id), number),
        E::Close(id, number) => E::Close(astray(id), number),
        other => other,
    });
}

/// Applies all there is: what was cut is cut, a registration gives a new lease.
fn catch_up(model: &Slots, s: &mut S, node: usize) {
    s.nodes[node].applied = s.log.len();
    let state = view(model, s, node);
    let Some(row) = state.node(node_id(node)) else { return };
    if row.alive && row.last_epoch.0 != s.nodes[node].epoch {
        let applied = s.log.len();
        s.nodes[node] = Node { epoch: row.last_epoch.0, lease_dead: false, issued: 0, answered: Vec::new(), applied };
    }
}

fn kill(model: &Slots, s: &mut S, at: usize) {
    s.left.kills -= 1;
    let connection = s.connections[at];
    let Phase::Open { number, .. } = connection.phase else { return };
    let (node, epoch) = (connection.node as u64 + 1, connection.epoch);
    s.log.push(E::Kill { node, epoch, number });
    if model.variant == Variant::KillFreesTheSlot {
        let id = Id { node, epoch, number: number + ASTRAY, answered_below: 1 };
        s.log.push(E::Close(id, number));
    }
}
