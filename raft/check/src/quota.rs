//! What the models of escrow, credits and scans share: the log's entries, a node's process with its book and its commands on the way.

use flotilla_model::command::{AccountCommand, CloseSession, Expire, OpenSession, WaitOver};
use flotilla_model::reply::AccountDone;
use flotilla_model::{
    Account, AccountId, Amount, Command, CommandId, Done, Envelope, Epoch, Limits, LogIndex, NodeId, Reply, SessionId,
    State, Username,
};
use flotilla_session::ledger::steps::{Ask, Packed, Steps};

use crate::logs::{Logs, Symbol, register, unnumbered};
use crate::world::{USER, USER_AT};

pub const ACCOUNT: AccountId = AccountId(USER_AT);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum E {
    /// With so many bytes of room wanted at once.
    Open {
        node: u64,
        epoch: u64,
        ahead: i64,
    },
    Close {
        node: u64,
        epoch: u64,
        number: u64,
    },
    Numbered {
        node: u64,
        epoch: u64,
        number: u64,
        command: AccountCommand,
    },
    Plain(AccountCommand),
    Expire {
        node: u64,
        epoch: u64,
    },
    Register {
        node: u64,
        start: u64,
        replaces: u64,
    },
}

impl Symbol for E {
    fn envelope(&self) -> Envelope {
        let numbered = |node: u64, epoch: u64, number: u64, command| {
            let id = CommandId::Node { node: NodeId(node), epoch: Epoch(epoch), number, answered_below: 1 };
            Envelope { id, actor: "node".into(), command }
        };
        match self {
            E::Open { node, epoch, ahead } => {
                let open = OpenSession {
                    username: user(),
                    incarnation: USER_AT,
                    credential_revision: USER_AT,
                    remote: "192.0.2.1:4711".into(),
                    protocol: "SFTP".into(),
                    method: "password".into(),
                    ahead: bytes(*ahead),
                };
                numbered(*node, *epoch, 1, Command::OpenSession(open))
            }
            E::Close { node, epoch, number } => {
                let session = SessionId { node: NodeId(*node), epoch: Epoch(*epoch), number: 1 };
                let reason = "over".into();
                let close = CloseSession { session, reason, bytes_uploaded: 0, bytes_downloaded: 0 };
                numbered(*node, *epoch, *number, Command::CloseSession(close))
            }
            E::Numbered { node, epoch, number, command } => {
                numbered(*node, *epoch, *number, Command::Account(command.clone()))
            }
            E::Plain(command) => unnumbered(Command::Account(command.clone())),
            E::Expire { node, epoch } => {
                unnumbered(Command::Expire(Expire { node: NodeId(*node), epoch: Epoch(*epoch), last_renewal: 0 }))
            }
            E::Register { node, start, replaces } => unnumbered(register(*node, *start, *replaces)),
        }
    }
}

pub fn user() -> Username {
    Username::parse(USER).expect("a name")
}

pub fn row(state: &State) -> &Account {
    state.account(ACCOUNT).expect("the user's account")
}

pub fn limits(state: &State) -> Limits {
    state.user(&user()).expect("the user").limits()
}

pub fn bytes(bytes: i64) -> Amount {
    Amount::new(bytes, i64::from(bytes > 0))
}

/// What a command on its way carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Carried {
    Grant {
        upload: usize,
        ask: Ask,
    },
    Settlement(Packed),
    Answer {
        packed: Packed,
        begun: LogIndex,
    },
    /// About a scan: of which, whether it is the report, and what was packed for it.
    Scan {
        word: (LogIndex, bool),
        packed: Option<Packed>,
    },
    /// Nothing comes of its answer.
    Word,
    Close,
}

/// A numbered command, from its first send until its answer is heard. It may arrive any number of times.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flight {
    pub number: u64,
    pub entry: E,
    pub carried: Carried,
    /// Entries of the log up to its first arrival, that one included.
    pub arrived: Option<usize>,
}

/// One process of a node under one epoch, with one session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub node: u64,
    pub epoch: u64,
    pub lease_dead: bool,
    /// Entries of the log that it has applied.
    pub applied: usize,
    pub book: Steps,
    pub flights: Vec<Flight>,
    pub next_number: u64,
    pub owes_answer: bool,
}

impl Process {
    /// Its session is open in this state.
    pub fn begin(state: &State, node: u64) -> Self {
        let epoch = state.node(NodeId(node)).expect("a node").last_epoch;
        let mut book = Steps::enter(state, ACCOUNT, NodeId(node), epoch).expect("a session");
        let session = state.session(SessionId { node: NodeId(node), epoch, number: 1 }).expect("its session");
        if let Some(first) = session.first_grant {
            book.take_first(first.limits, first.amount, session.opened_index);
        }
        Process {
            node,
            epoch: epoch.0,
            lease_dead: false,
            applied: 0,
            book,
            flights: Vec::new(),
            next_number: 2,
            owes_answer: false,
        }
    }

    pub fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    pub fn send(&mut self, number: u64, command: AccountCommand, carried: Carried) {
        let entry = E::Numbered { node: self.node, epoch: self.epoch, number, command };
        self.flights.push(Flight { number, entry, carried, arrived: None });
    }

    pub fn send_close(&mut self) {
        let number = self.number();
        let entry = E::Close { node: self.node, epoch: self.epoch, number };
        self.flights.push(Flight { number, entry, carried: Carried::Close, arrived: None });
    }

    /// Asks for the room that an upload lacks up to a total.
    pub fn ask(&mut self, state: &State, upload: usize, number: u64, total: Amount) -> Ask {
        let ask = self.number();
        let (asked, grant) = self.book.ask(number, ask, limits(state), total, (user(), USER_AT));
        self.send(ask, AccountCommand::Grant(grant), Carried::Grant { upload, ask: asked });
        asked
    }

    /// Settles what is due, if nothing is on its way.
    pub fn may_settle(&self) -> bool {
        self.book.is_dirty() && !self.book.is_carrying()
    }

    pub fn settle(&mut self, state: &State) {
        let packed = self.book.settle(state.applied_index());
        let number = self.number();
        self.send(number, AccountCommand::Settle(packed.settle()), Carried::Settlement(packed));
    }

    /// An answer holds both locks: no parcel and no grant is on its way.
    pub fn may_answer(&self) -> bool {
        self.owes_answer && !self.book.is_carrying() && !self.book.is_asking()
    }

    pub fn answer(&mut self, state: &State) {
        let (packed, answer) = self.book.answer(state);
        let (number, begun) = (self.number(), answer.begun);
        self.owes_answer = false;
        self.send(number, AccountCommand::Answer(answer), Carried::Answer { packed, begun });
    }

    /// Applies all of the log and looks at the account's row.
    pub fn catch_up(&mut self, logs: &Logs<E>, log: &[E]) {
        self.applied = log.len();
        let state = &logs.at(log).state;
        self.owes_answer = self.book.look_at(state);
        if let Some(ask) = self.book.nudge(state) {
            let number = self.number();
            let (time_over, buffer_full, gone) = (false, false, false);
            let word = WaitOver { account: ACCOUNT, number: ask, time_over, buffer_full, gone };
            self.send(number, AccountCommand::WaitOver(word), Carried::Word);
        }
    }

    /// Takes a flight whose answer is here: what it carried, and the reply with its index.
    pub fn hear(&mut self, logs: &Logs<E>, log: &[E], flight: usize) -> Option<(Carried, Reply, LogIndex)> {
        let arrived = self.flights[flight].arrived?;
        let flight = self.flights.remove(flight);
        self.applied = self.applied.max(arrived);
        let point = logs.at(&log[..arrived]);
        Some((flight.carried, point.reply().clone(), point.index))
    }

    /// A settlement or an answer was heard of.
    pub fn parcel_heard(&mut self, carried: Carried, taken: bool) {
        match carried {
            Carried::Settlement(packed) => self.book.settled(packed, taken),
            Carried::Answer { packed, begun } => self.book.answered(packed, begun, taken),
            Carried::Scan { word, packed } => self.book.word_heard(packed, word, taken),
            Carried::Grant { .. } | Carried::Word | Carried::Close => {}
        }
    }
}

/// The room that a reply gives.
pub fn given(reply: &Reply) -> Option<(LogIndex, Limits, Amount)> {
    match reply {
        Ok(Done::Account(AccountDone::Granted { index, limits, amount })) => Some((*index, *limits, *amount)),
        _ => None,
    }
}

pub fn waits(reply: &Reply) -> bool {
    matches!(reply, Ok(Done::Account(AccountDone::Waiting)))
}
