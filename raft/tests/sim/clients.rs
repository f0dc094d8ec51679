//! Administration from outside: requests to any node, repeated under their id when nobody knows what became of them, and reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flotilla_cluster::SubmitError;
use flotilla_model::command::{CreateUser, DeleteUser, KillSession, PutToken, UpdateUser};
use flotilla_model::{
    Command, CommandId, Filters, Permission, RequestId, Root, State, Status, StorageName, UserPatch, UserSpec, Username,
};
use flotilla_raft::testing::simulation::{Core, Purpose};

use crate::node::{Node, WALL};
use crate::oracle::Oracle;
use crate::rng::Rng;

/// Users that the clients know of.
const USERS: u64 = 6;
/// Requests under way at most.
const FLIGHTS: usize = 24;

#[derive(Clone)]
struct Request {
    id: CommandId,
    command: Command,
    /// Some attempt may have been taken.
    uncertain: bool,
    tries: u64,
    /// It was answered: this only asks again.
    answered: bool,
}

struct Flight {
    request: Request,
    node: u64,
    start: u64,
}

enum Ended {
    Answered,
    Unknown,
    Never,
}

type Results = Arc<Mutex<Vec<(u64, Ended)>>>;

pub struct Clients {
    oracle: Arc<Oracle>,
    rng: Rng,
    flights: BTreeMap<u64, Flight>,
    again: Vec<(u64, Request)>,
    results: Results,
    next: u64,
    next_at: u64,
    made: u64,
    /// Shortest and longest pause between requests, in ms.
    pace: (u64, u64),
    /// Nodes that stood still at the last ms.
    standing: BTreeSet<u64>,
}

impl Clients {
    pub fn new(oracle: Arc<Oracle>, mut rng: Rng) -> Self {
        let slowest = rng.between(20, 200);
        Clients {
            oracle,
            rng,
            flights: BTreeMap::new(),
            again: Vec::new(),
            results: Results::default(),
            next: 0,
            next_at: 500,
            made: 0,
            pace: (5, slowest),
            standing: BTreeSet::new(),
        }
    }

    /// One ms: takes answers, repeats, and begins something new now and then.
    pub fn tick(&mut self, now: u64, nodes: &[Node], wanted: bool) {
        self.take_results(now, nodes);
        let due: Vec<Request> = {
            let (due, later) = std::mem::take(&mut self.again).into_iter().partition(|(at, _)| *at <= now);
            self.again = later;
            let due: Vec<(u64, Request)> = due;
            due.into_iter().map(|(_, request)| request).collect()
        };
        for request in due {
            self.send(now, nodes, request);
        }
        self.ask_who_stood(nodes);
        if wanted && now >= self.next_at && self.flights.len() < FLIGHTS {
            self.next_at = now + self.rng.between(self.pace.0, self.pace.1);
            self.begin(now, nodes);
        }
    }

    /// Who waited for a node that stood still asks it at once.
    fn ask_who_stood(&mut self, nodes: &[Node]) {
        let standing = nodes.iter().filter(|node| node.paused.is_some()).map(|node| node.id).collect();
        let stood = std::mem::replace(&mut self.standing, standing);
        for node in nodes.iter().filter(|node| stood.contains(&node.id) && node.runs()) {
            if let Some(core) = node.core() {
                self.read(node, core);
            }
        }
    }

    fn running<'a>(&mut self, nodes: &'a [Node]) -> Option<(&'a Node, Core)> {
        let running: Vec<usize> =
            (0..nodes.len()).filter(|at| nodes[*at].runs() && nodes[*at].core().is_some()).collect();
        let node = &nodes[*self.rng.pick(&running)?];
        Some((node, node.core()?))
    }

    fn begin(&mut self, now: u64, nodes: &[Node]) {
        let Some((node, core)) = self.running(nodes) else { return };
        if self.rng.permille(350) {
            return self.read(node, core);
        }
        let command = self.command(&core.shared.state());
        let id = self.request_id(now);
        self.send(now, nodes, Request { id, command, uncertain: false, tries: 0, answered: false });
    }

    fn read(&mut self, node: &Node, core: Core) {
        // Several at a time: who comes while a round is under way must not share it.
        let count = if self.rng.permille(500) { self.rng.between(2, 5) } else { 1 };
        for _ in 0..count {
            self.read_one(node, core.clone());
        }
    }

    fn read_one(&mut self, node: &Node, core: Core) {
        let (oracle, id) = (Arc::clone(&self.oracle), node.id);
        let after = self.rng.below(30);
        let purpose = if self.rng.permille(300) { Purpose::Refusal } else { Purpose::Read };
        let within = Duration::from_millis(self.rng.between(100, 3_000));
        let Some(runtime) = node.runtime() else { return };
        runtime.spawn(async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            let floor = oracle.read_begins();
            if let Ok(index) = core.reads.barrier(purpose, within).await {
                oracle.read_done(id, floor, index, core.shared.applied_index());
            }
        });
    }

    /// A request through every node, to see that each can have one answered. Their numbers.
    pub fn last_words(&mut self, now: u64, nodes: &[Node]) -> Vec<u64> {
        let mut numbers = Vec::new();
        for node in nodes {
            let token = self.token();
            let id = self.request_id(now);
            let request = Request { id, command: token, uncertain: false, tries: 0, answered: false };
            if let Some(core) = node.core() {
                numbers.push(self.next);
                self.send_to(node, core, request, Duration::from_secs(20));
            }
        }
        numbers
    }

    pub fn is_under_way(&self, number: u64) -> bool {
        self.flights.contains_key(&number)
    }

    fn send(&mut self, now: u64, nodes: &[Node], request: Request) {
        let within = Duration::from_millis(self.rng.between(100, 5_000));
        match self.running(nodes) {
            Some((node, core)) => self.send_to(node, core, request, within),
            None => self.again.push((now + 200, request)),
        }
    }

    fn send_to(&mut self, node: &Node, core: Core, mut request: Request, within: Duration) {
        let Some(runtime) = node.runtime() else { return };
        let number = self.next;
        self.next += 1;
        request.tries += 1;
        let (id, command) = (request.id, request.command.clone());
        let (oracle, results, node_id) = (Arc::clone(&self.oracle), Arc::clone(&self.results), node.id);
        runtime.spawn(async move {
            let ended = match core.proposer.submit(id, "admin sim", command, within).await {
                Ok(submitted) => {
                    oracle.acknowledged(node_id, id, submitted.index, &submitted.reply);
                    Ended::Answered
                }
                Err(SubmitError::Unknown(_)) => Ended::Unknown,
                Err(_) => Ended::Never,
            };
            results.lock().expect("no panic while results are locked").push((number, ended));
        });
        self.flights.insert(number, Flight { request, node: node_id, start: node.starts() });
    }

    fn take_results(&mut self, now: u64, nodes: &[Node]) {
        let mut results = std::mem::take(&mut *self.results.lock().expect("no panic while results are locked"));
        let lost = |flight: &Flight| {
            nodes.iter().all(|node| node.id != flight.node || node.starts() != flight.start || !node.is_up())
        };
        let lost: Vec<u64> =
            self.flights.iter().filter(|(_, flight)| lost(flight)).map(|(number, _)| *number).collect();
        results.extend(lost.into_iter().map(|number| (number, Ended::Unknown)));
        for (number, ended) in results {
            let Some(flight) = self.flights.remove(&number) else { continue };
            self.ended(now, flight.request, &ended);
        }
    }

    fn ended(&mut self, now: u64, mut request: Request, ended: &Ended) {
        let again = match ended {
            Ended::Answered => {
                request.answered = true;
                self.rng.permille(150)
            }
            Ended::Unknown => {
                self.oracle.unknown();
                request.uncertain = true;
                self.rng.permille(700)
            }
            Ended::Never if request.uncertain || request.answered => self.rng.permille(500),
            Ended::Never => {
                self.oracle.never(request.id);
                false
            }
        };
        if again && request.tries < 8 {
            let after = if self.rng.permille(100) { self.rng.between(1_000, 10_000) } else { self.rng.between(1, 500) };
            self.again.push((now + after, request));
        }
    }

    fn request_id(&mut self, now: u64) -> CommandId {
        let ms = u128::from(WALL + now) << 80;
        let random = u128::from(self.rng.number() & 0xfff) << 64 | u128::from(self.rng.number() >> 2);
        CommandId::Request(RequestId(ms | (7 << 76) | (0b10 << 62) | random))
    }

    fn token(&mut self) -> Command {
        self.made += 1;
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&self.rng.number().to_le_bytes());
        let name = format!("t{}", self.made);
        Command::PutToken(PutToken { name, hash, permissions: Vec::new(), expires_at: 0, replace: false })
    }

    fn command(&mut self, state: &State) -> Command {
        let number = self.rng.below(USERS);
        let username = Username::parse(&format!("u{number}")).expect("a name");
        if state.user(&username).is_none() {
            let spec = self.spec(number);
            return Command::CreateUser(CreateUser { username, spec });
        }
        self.made += 1;
        let change =
            |patch| Command::UpdateUser(UpdateUser { username: username.clone(), expected_revision: None, patch });
        match self.rng.below(100) {
            0..=2 => Command::DeleteUser(DeleteUser { username, expected_revision: None }),
            3..=9 => {
                let disabled = self.rng.permille(400);
                let status = if disabled { Status::Disabled } else { Status::Enabled };
                change(UserPatch { status: Some(status), ..UserPatch::default() })
            }
            10..=15 => {
                let password = format!("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ${}", self.made);
                change(UserPatch { password_hash: Some(Some(password)), ..UserPatch::default() })
            }
            16..=27 => {
                let live: Vec<_> = state.live_sessions().map(|row| row.id).collect();
                match self.rng.pick(&live) {
                    Some(session) => Command::KillSession(KillSession { session: *session }),
                    None => self.token(),
                }
            }
            28..=40 => self.token(),
            _ => change(UserPatch { description: Some(format!("change {}", self.made)), ..UserPatch::default() }),
        }
    }

    fn spec(&mut self, number: u64) -> UserSpec {
        let storage = StorageName::parse("files").expect("a name");
        UserSpec {
            status: Status::Enabled,
            expiration_date: 0,
            password_hash: None,
            public_keys: Vec::new(),
            home: Root::new(storage, &format!("u{number}")).expect("a root"),
            uid: 0,
            gid: 0,
            // The limit and the quota of a name stay the same in all its lives.
            max_sessions: (number % 3) as u32,
            quota_size: if number.is_multiple_of(2) { 200_000 } else { 0 },
            quota_files: 0,
            permissions: BTreeMap::from([("/".to_owned(), vec![Permission::Any])]),
            upload_bandwidth: 0,
            download_bandwidth: 0,
            filters: Filters::default(),
            email: String::new(),
            description: String::new(),
            additional_info: String::new(),
            groups: Vec::new(),
            role: None,
        }
    }
}
