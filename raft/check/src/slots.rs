//! Sessions and slots (`PROTOCOL.md` 2, 3.1): two nodes, connections of one user, a limit; opens, further slots, closes, kills,
//! expiry and registration, with loss, repetition, reordering and outcomes that nobody hears. (A command that is lost and sent again
//! under its number is one that arrives late: what is on its way may stay there for ever.)
//!
//! Looked at: never are more channels able to acknowledge than the limit says; a node's session has its slot; once every connection
//! is over no slot is left; the invariants of the state. Called: `State::apply`, and `Lease` for the numbers of commands and for
//! what has been answered. A node's lease dies before the log may end its epoch: that is what the lease model shows.
//!
//! Bound: connections and events as `Budget` says; the log keeps what arrives in the order of arrival (consensus is not modelled).

mod step;
mod variant;

use flotilla_model::command::{AddSlot, CloseSession, Expire, KillSession, OpenSession};
use flotilla_model::{Amount, Command, CommandId, Envelope, Epoch, NodeId, SessionId, Username, invariant};
use stateright::{Model, Property};
pub use variant::Variant;

use crate::explore::goes_by_steps;
use crate::logs::{Logs, Symbol, register, unnumbered};
use crate::world;

pub const NODES: usize = 2;

/// A numbered command's name in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    pub node: u64,
    pub epoch: u64,
    pub number: u64,
    pub answered_below: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum E {
    Open(Id),
    /// One more slot for the session of this number.
    Add(Id, u64),
    Close(Id, u64),
    Kill {
        node: u64,
        epoch: u64,
        number: u64,
    },
    Expire {
        node: u64,
        epoch: u64,
    },
    Register {
        node: u64,
        replaces: u64,
    },
}

impl Id {
    fn command(self) -> CommandId {
        let Id { node, epoch, number, answered_below } = self;
        CommandId::Node { node: NodeId(node), epoch: Epoch(epoch), number, answered_below }
    }
    pub fn session(self, number: u64) -> SessionId {
        SessionId { node: NodeId(self.node), epoch: Epoch(self.epoch), number }
    }
}

impl Symbol for E {
    fn envelope(&self) -> Envelope {
        let numbered = |id: Id, command| Envelope { id: id.command(), actor: "node".into(), command };
        match *self {
            E::Open(id) => numbered(
                id,
                Command::OpenSession(OpenSession {
                    username: user(),
                    incarnation: world::USER_AT,
                    credential_revision: world::USER_AT,
                    remote: "192.0.2.1:4711".into(),
                    protocol: "SFTP".into(),
                    method: "password".into(),
                    ahead: Amount::ZERO,
                }),
            ),
            E::Add(id, number) => numbered(id, Command::AddSlot(AddSlot { session: id.session(number) })),
            E::Close(id, number) => numbered(
                id,
                Command::CloseSession(CloseSession {
                    session: id.session(number),
                    reason: "over".into(),
                    bytes_uploaded: 0,
                    bytes_downloaded: 0,
                }),
            ),
            E::Kill { node, epoch, number } => {
                let session = SessionId { node: NodeId(node), epoch: Epoch(epoch), number };
                unnumbered(Command::KillSession(KillSession { session }))
            }
            E::Expire { node, epoch } => {
                unnumbered(Command::Expire(Expire { node: NodeId(node), epoch: Epoch(epoch), last_renewal: 0 }))
            }
            E::Register { node, replaces } => unnumbered(register(node, 1, replaces)),
        }
    }
}

pub fn user() -> Username {
    Username::parse(world::USER).expect("a name")
}

/// Where a connection stands, as its node knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    Idle,
    /// The open of this number has no answer yet.
    Opening {
        number: u64,
        client_gone: bool,
    },
    /// It may acknowledge. `adding`: a further slot is asked for under this number; `channels`: what it may serve at once.
    Open {
        number: u64,
        adding: u64,
        channels: u8,
    },
    /// It acknowledges nothing any more and has to be closed once nothing of it is unanswered.
    Ending {
        number: u64,
        adding: u64,
    },
    Closing {
        number: u64,
        close: u64,
    },
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    pub node: usize,
    pub epoch: u64,
    pub phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub epoch: u64,
    pub lease_dead: bool,
    pub issued: u64,
    pub answered: Vec<u64>,
    /// Entries of the log that it has applied.
    pub applied: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    pub repeats: u8,
    pub deaths: u8,
    pub kills: u8,
    pub adds: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct S {
    pub log: Vec<E>,
    pub nodes: [Node; NODES],
    pub connections: Vec<Connection>,
    pub wires: Vec<E>,
    pub left: Budget,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Login(usize),
    ClientLeaves(usize),
    AddChannel(usize),
    End(usize),
    ProposeClose(usize),
    Hear(usize),
    Arrive { wire: E, again: bool },
    CatchUp(usize),
    LeaseDies(usize),
    Expire(usize),
    Register(usize),
    Kill(usize),
}

pub struct Slots {
    pub variant: Variant,
    pub budget: Budget,
    pub limit: u32,
    /// The node of each connection.
    pub connections: Vec<usize>,
    pub logs: Logs<E>,
}

impl Slots {
    pub fn new(variant: Variant, budget: Budget, limit: u32, connections: &[usize]) -> Self {
        let logs = Logs::behind(world::with_user(NODES as u64, limit, 0, Amount::ZERO));
        Slots { variant, budget, limit, connections: connections.to_vec(), logs }
    }

    /// Channels that may acknowledge at this moment.
    fn acknowledging(&self, s: &S) -> u32 {
        let able = |connection: &&Connection| {
            let node = &s.nodes[connection.node];
            node.epoch != connection.epoch || !node.lease_dead
        };
        s.connections
            .iter()
            .filter(able)
            .map(|connection| match connection.phase {
                // Sessions of a former epoch end with its lease, before the node registers again.
                _ if s.nodes[connection.node].epoch != connection.epoch => 0,
                Phase::Open { number, channels, .. } => {
                    let cut = step::is_cut(self, s, connection, number);
                    if cut { 0 } else { u32::from(channels) }
                }
                Phase::Opening { client_gone: false, .. } if self.variant == Variant::ServesBeforeTheAnswer => 1,
                Phase::Closing { .. } if self.variant == Variant::ClosesBeforeItsEnd => 1,
                _ => 0,
            })
            .sum()
    }

    fn has_its_slots(&self, s: &S) -> bool {
        let state = &self.logs.at(&s.log).state;
        s.connections.iter().all(|connection| {
            let Phase::Open { number, channels, .. } = connection.phase else { return true };
            let node = NodeId(connection.node as u64 + 1);
            let id = SessionId { node, epoch: Epoch(connection.epoch), number };
            let ended = !state.epoch_alive(node, Epoch(connection.epoch));
            ended || state.session(id).is_some_and(|row| row.slots >= u32::from(channels))
        })
    }

    fn all_over(s: &S) -> bool {
        s.connections.iter().all(|connection| connection.phase == Phase::Over)
    }
}

impl Model for Slots {
    goes_by_steps!();

    fn properties(&self) -> Vec<Property<Self>> {
        let within = |model: &Slots, s: &S| model.acknowledging(s) <= model.limit;
        let invariants = |model: &Slots, s: &S| invariant::check_all(&model.logs.at(&s.log).state).is_ok();
        let no_leak =
            |model: &Slots, s: &S| !Slots::all_over(s) || model.logs.at(&s.log).state.slots_in_use(&user()) == 0;
        vec![
            Property::always("no more channels acknowledge than the limit", within),
            Property::always("an open session has its slots", Slots::has_its_slots),
            Property::always("no slot is left when all is over", no_leak),
            Property::always("the state's invariants", invariants),
            Property::sometimes("the limit is reached", |model: &Slots, s: &S| model.acknowledging(s) == model.limit),
            Property::sometimes("all is over", |_, s: &S| Slots::all_over(s)),
        ]
    }
}
