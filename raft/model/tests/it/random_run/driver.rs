//! Drives the state and the reference together: nodes with commands on their way, administrators, a leader that groups.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_model::command::*;
use flotilla_model::event::Fact;
use flotilla_model::*;

use super::generate::Random;
use crate::reference::{Reference, View};
use crate::world::{name, put_node};

pub const USERS: [&str; 10] = ["ann", "bob", "cy", "dan", "eve", "fay", "gus", "hal", "ida", "jo"];
pub const NODES: u64 = 4;

/// A node as its own process sees itself.
#[derive(Clone, Debug, Default)]
pub struct Process {
    pub epoch: Epoch,
    pub alive: bool,
    pub start: u64,
    pub renewal: u64,
    pub next: u64,
    pub unanswered: BTreeSet<u64>,
    /// Numbers that are opens.
    pub opens: BTreeSet<u64>,
    pub outcomes: BTreeMap<u64, Reply>,
}

/// A command on its way to the log, with what its sender knows.
#[derive(Clone, Debug)]
pub struct Sent {
    pub envelope: Envelope,
    /// Of an open: what was read when the credential was verified.
    pub view: Option<View>,
    /// Of an update: what it does to the user.
    pub change: Option<Change>,
}

/// A change of one field, for both sides.
#[derive(Clone, Copy, Debug)]
pub struct Change(pub fn(&mut UserSpec, u64), pub u64);

/// An entry's bytes, what applying it gave, the hash behind it.
pub type Recorded = (Vec<u8>, Applied, [u8; 32]);

pub struct Driver {
    pub random: Random,
    pub seed: u64,
    pub state: State,
    pub index: LogIndex,
    pub wall: u64,
    pub reference: Reference,
    pub processes: BTreeMap<NodeId, Process>,
    pub on_the_way: Vec<Sent>,
    pub old_views: Vec<(Username, View, LogIndex, LogIndex)>,
    /// Replies, and how many requests there were by then.
    pub requests: BTreeMap<RequestId, (Reply, u64)>,
    pub repeatable: Vec<Envelope>,
    pub request_count: u64,
    pub commands: u64,
    /// The entry at hand, for messages.
    current: Vec<Envelope>,
    pub registered_in: LogIndex,
    pub recorded: Option<Vec<Recorded>>,
    pub tally: BTreeMap<&'static str, u64>,
    open_by_events: BTreeSet<SessionId>,
    cut_by_events: BTreeSet<SessionId>,
}

impl Driver {
    pub fn new(seed: u64) -> Self {
        Driver::start(seed, None)
    }

    /// Keeps every entry and what it gave.
    pub fn recording(seed: u64) -> Self {
        Driver::start(seed, Some(Vec::new()))
    }

    fn start(seed: u64, recorded: Option<Vec<Recorded>>) -> Self {
        let mut driver = Driver {
            random: Random::new(seed),
            seed,
            state: State::default(),
            index: 0,
            wall: 1_700_000_000_000,
            reference: Reference::default(),
            processes: (1..=NODES).map(|node| (NodeId(node), Process::default())).collect(),
            on_the_way: Vec::new(),
            old_views: Vec::new(),
            requests: BTreeMap::new(),
            repeatable: Vec::new(),
            request_count: 0,
            commands: 0,
            current: Vec::new(),
            registered_in: 0,
            recorded,
            tally: BTreeMap::new(),
            open_by_events: BTreeSet::new(),
            cut_by_events: BTreeSet::new(),
        };
        driver.setup();
        driver
    }

    fn setup(&mut self) {
        let mut commands = vec![Command::InitCluster(InitCluster { cluster_id: "random".into() })];
        commands.extend((1..=NODES).map(|node| Command::PutNode(put_node(node))));
        let envelope = |command| Envelope { id: CommandId::Unnumbered, actor: "setup".into(), command };
        let entry = self.entry(commands.into_iter().map(envelope).collect());
        assert!(self.apply(&entry).replies.iter().all(Result::is_ok));
    }

    fn entry(&mut self, commands: Vec<Envelope>) -> Entry {
        self.index += 1;
        self.wall += 1;
        Entry { time: LogTime(self.index), wall: WallTime(self.wall), commands }
    }

    fn apply(&mut self, entry: &Entry) -> Applied {
        let applied = self.state.apply(self.index, entry);
        self.follow_events(&applied);
        if let Some(recorded) = &mut self.recorded {
            recorded.push((entry.encode(), applied.clone(), self.state.hash()));
        }
        applied
    }

    /// One entry: some new commands, some that were on their way, some again.
    pub fn step(&mut self) {
        for _ in 0..1 + self.random.below(4) {
            let sent = self.generate();
            self.on_the_way.push(sent);
        }
        let mut entry_of = Vec::new();
        for _ in 0..1 + self.random.below(6) {
            if self.on_the_way.is_empty() {
                break;
            }
            let at = self.random.below(self.on_the_way.len() as u64) as usize;
            if self.random.chance(8) {
                entry_of.push(self.on_the_way[at].clone());
            } else {
                entry_of.push(self.on_the_way.swap_remove(at));
            }
        }
        // Whether a change of address lists cuts is read from the state behind the entry, so such a change stands alone.
        if let Some(at) = entry_of.iter().position(changes_filters) {
            self.on_the_way.extend(entry_of.split_off(at + 1));
            self.on_the_way.extend(entry_of.drain(..at));
        }
        let entry = self.entry(entry_of.iter().map(|sent| sent.envelope.clone()).collect());
        self.current.clone_from(&entry.commands);
        let applied = self.apply(&entry);
        assert_eq!(applied.replies.len(), entry_of.len());
        for (sent, reply) in entry_of.iter().zip(&applied.replies) {
            self.commands += 1;
            self.judge(sent, reply);
        }
        self.look();
    }

    /// What nodes do for ledgers when an epoch is over: without it the holders of thousands of dead epochs would gather.
    fn settle_and_fence_dead_epochs(&mut self) {
        let mut commands = Vec::new();
        for account in self.state.accounts() {
            let dead = account.holders.iter().filter(|((node, epoch), _)| !self.state.epoch_alive(*node, *epoch));
            for (&(node, epoch), holder) in dead {
                let (account, since) = (account.id, holder.since);
                let (total, credits) = (Amount::ZERO, Vec::new());
                let settle = SettleDead { account, node, epoch, since, total, credits, mark: false };
                commands.push(AccountCommand::SettleDead(settle));
                commands.push(AccountCommand::Fenced(Fenced { account, node, epoch }));
            }
        }
        let envelope =
            |command| Envelope { id: CommandId::Unnumbered, actor: "node".into(), command: Command::Account(command) };
        let entry = self.entry(commands.into_iter().map(envelope).collect());
        let applied = self.apply(&entry);
        if let Some(refusal) = applied.replies.iter().find(|reply| reply.is_err()) {
            self.fail(&format!("the ledger of a dead epoch: {refusal:?}"));
        }
    }

    fn look(&mut self) {
        if self.index.is_multiple_of(16) {
            self.settle_and_fence_dead_epochs();
        }
        if self.index.is_multiple_of(8) {
            self.compare();
        }
        if self.index.is_multiple_of(1_024) {
            invariant::check_all(&self.state).unwrap_or_else(|violation| self.fail(&violation.to_string()));
        }
        if self.random.below(4_000) == 0 {
            let restored = State::from_snapshot(self.state.to_snapshot()).unwrap();
            if restored != self.state {
                self.fail("the restored state is another");
            }
            self.state = restored;
            self.note("restored");
        }
    }

    /// The history alone tells which sessions there are.
    fn follow_events(&mut self, applied: &Applied) {
        let mut scans = 0;
        for event in &applied.events {
            let ok = match &event.fact {
                Fact::SessionOpened { session, .. } => self.open_by_events.insert(*session),
                Fact::SessionCut { session, .. } => self.cut_by_events.insert(*session),
                Fact::SessionClosed { session, .. } => {
                    self.cut_by_events.remove(session);
                    self.open_by_events.remove(session)
                }
                Fact::AccountScanned { .. } => {
                    scans += 1;
                    true
                }
                _ => true,
            };
            if !ok {
                self.fail(&format!("an event says again or too early: {event:?}"));
            }
        }
        for _ in 0..scans {
            self.note("account scanned");
        }
    }

    /// The state and the reference see the same sessions, users and slots.
    pub fn compare(&mut self) {
        let live: BTreeMap<SessionId, (u32, bool)> = self
            .state
            .live_sessions()
            .map(|session| (session.id, (session.slots, self.state.session_cut(session).is_some())))
            .collect();
        let expected: BTreeMap<SessionId, (u32, bool)> =
            self.reference.sessions.iter().map(|(id, session)| (*id, (session.slots, session.cut))).collect();
        if live != expected {
            self.fail(&format!("sessions differ: {live:?} instead of {expected:?}"));
        }
        let cut: BTreeSet<SessionId> = live.iter().filter(|(_, (_, cut))| *cut).map(|(id, _)| *id).collect();
        if self.cut_by_events != cut || self.open_by_events != live.keys().copied().collect() {
            self.fail("the history tells of other sessions or cuts than the state");
        }
        for user in USERS {
            let username = name(user);
            let spec = self.state.user(&username).map(|user| user.spec());
            if spec != self.reference.users.get(&username).map(|user| user.spec.clone()) {
                self.fail(&format!("user {user} differs"));
            }
            if self.state.slots_in_use(&username) != self.reference.slots_of(&username) {
                self.fail(&format!("slots of {user} differ"));
            }
        }
    }

    pub fn note(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    pub fn fail(&self, what: &str) -> ! {
        panic!("seed {}, entry {}: {what}\nthe entry: {:#?}", self.seed, self.index, self.current)
    }

    /// A run in which nothing happens proves nothing.
    pub fn assert_that_much_happened(&self) {
        for (what, least) in [
            ("opened", 100_000),
            ("full", 10_000),
            ("changed", 1_000),
            ("closed", 50_000),
            ("closed first", 300),
            ("cut all", 5_000),
            ("cut newest", 300),
            ("expired", 1_000),
            ("registered", 1_000),
            ("stale epoch", 1_000),
            ("repeated number", 10_000),
            ("repeated request", 500),
            ("request expired", 20),
            ("overlap", 1_000),
            ("restored", 20),
            ("scan", 10_000),
            ("account scanned", 300),
            ("scan refused", 1_000),
        ] {
            let count = self.tally.get(what).copied().unwrap_or_default();
            assert!(count >= least, "{what}: {count} of {least}; {:?}", self.tally);
        }
    }
}

fn changes_filters(sent: &Sent) -> bool {
    matches!(&sent.envelope.command, Command::UpdateUser(update) if update.patch.filters.is_some())
}
