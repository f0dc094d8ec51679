//! What nodes, administrators and the leader come up with.

use flotilla_model::command::*;
use flotilla_model::*;

use super::driver::{Change, Driver, NODES, Sent, USERS};
use crate::reference::{ADDRESSES, PATHS};
use crate::world::{close_command, name, root, spec};

/// splitmix64: a seed, no state to speak of.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
    pub fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }
}

pub fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

const HOMES: [&str; 7] = ["a", "a/b", "a/b/c", "b", "ab", "a-b", ""];

type Changer = fn(&mut UserSpec, u64);
type PatchOf = fn(&UserSpec) -> UserPatch;

/// One field each, and what an administrator may do to it.
const CHANGES: [(Changer, PatchOf); 11] = [
    (
        |s, r| s.status = if r.is_multiple_of(2) { Status::Disabled } else { Status::Enabled },
        |s| UserPatch { status: Some(s.status), ..UserPatch::default() },
    ),
    (
        |s, r| s.status = if r.is_multiple_of(8) { Status::Disabled } else { Status::Enabled },
        |s| UserPatch { status: Some(s.status), ..UserPatch::default() },
    ),
    (
        |s, r| s.max_sessions = (r % 5) as u32,
        |s| UserPatch { max_sessions: Some(s.max_sessions), ..UserPatch::default() },
    ),
    (
        |s, r| s.max_sessions = 1 + (r % 3) as u32,
        |s| UserPatch { max_sessions: Some(s.max_sessions), ..UserPatch::default() },
    ),
    (
        |s, r| s.password_hash = [None, Some("one".into()), Some("two".into())][r as usize % 3].clone(),
        |s| UserPatch { password_hash: Some(s.password_hash.clone()), ..UserPatch::default() },
    ),
    (
        |s, r| s.public_keys = some_of(&["k1", "k2", "k3"], r),
        |s| UserPatch { public_keys: Some(s.public_keys.clone()), ..UserPatch::default() },
    ),
    (
        |s, r| s.permissions = permissions(r),
        |s| UserPatch { permissions: Some(s.permissions.clone()), ..UserPatch::default() },
    ),
    (|s, r| s.filters = filters(r), |s| UserPatch { filters: Some(s.filters.clone()), ..UserPatch::default() }),
    (
        |s, r| s.expiration_date = expiry(r),
        |s| UserPatch { expiration_date: Some(s.expiration_date), ..UserPatch::default() },
    ),
    (
        |s, r| s.home = root(HOMES[r as usize % HOMES.len()]),
        |s| UserPatch { home: Some(s.home.clone()), ..UserPatch::default() },
    ),
    (
        |s, r| (s.quota_size, s.email) = (r % 8 / 7 * 100, format!("{}@example.org", r % 2)),
        |s| UserPatch { quota_size: Some(s.quota_size), email: Some(s.email.clone()), ..UserPatch::default() },
    ),
];

fn some_of(items: &[&str], bits: u64) -> Vec<String> {
    let chosen = items.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1);
    chosen.map(|(_, item)| (*item).to_owned()).collect()
}

fn permissions(r: u64) -> std::collections::BTreeMap<String, Vec<Permission>> {
    let list = |r: u64| -> Vec<Permission> {
        if r.is_multiple_of(4) {
            return vec![Permission::Any];
        }
        let few = [Permission::List, Permission::Upload, Permission::Delete, Permission::DeleteFiles];
        few.into_iter().enumerate().filter(|(at, _)| r >> at & 1 == 1).map(|(_, p)| p).collect()
    };
    let mut map = std::collections::BTreeMap::from([("/".to_owned(), list(r >> 8))]);
    for at in 0..r % 3 {
        map.insert(PATHS[(r >> (16 + 8 * at)) as usize % PATHS.len()].to_owned(), list(r >> (40 + 8 * at)));
    }
    map
}

fn filters(r: u64) -> Filters {
    Filters {
        allowed_ip: if r.is_multiple_of(2) { Vec::new() } else { some_of(&ADDRESSES, r >> 8) },
        denied_ip: if r % 4 < 3 { Vec::new() } else { some_of(&ADDRESSES, r >> 16) },
        denied_login_methods: if r % 8 < 7 { Vec::new() } else { some_of(&["password", "publickey"], r >> 24) },
        ..Filters::default()
    }
}

fn expiry(r: u64) -> u64 {
    // Within the run: some lie in the past when set, some pass while sessions run.
    [0, 0, 1_700_000_000_000 + r % 400_000, 1_900_000_000_000][r as usize % 4]
}

impl Driver {
    pub fn generate(&mut self) -> Sent {
        match self.random.below(100) {
            0..=39 => self.open().unwrap_or_else(|| self.registration()),
            40..=62 => self.close().unwrap_or_else(|| self.renewal()),
            63..=66 => self.add_slot().unwrap_or_else(|| self.renewal()),
            67..=69 => self.kill().unwrap_or_else(|| self.renewal()),
            70..=79 => self.update(),
            80..=85 => self.create(),
            86 => self.delete(),
            87..=88 => self.again().unwrap_or_else(|| self.renewal()),
            89 => self.registration(),
            90 => self.expiry(),
            91..=92 => self.scan().unwrap_or_else(|| self.renewal()),
            _ => self.renewal(),
        }
    }

    fn user(&mut self) -> Username {
        name(self.random.of(&USERS))
    }

    fn node(&mut self) -> NodeId {
        NodeId(1 + self.random.below(NODES))
    }

    fn numbered(&mut self, node: NodeId, command: impl FnOnce(SessionId) -> Command) -> Option<Sent> {
        let process = self.processes.get_mut(&node).filter(|process| process.alive)?;
        process.next += 1;
        let number = process.next;
        process.unanswered.insert(number);
        let answered_below = *process.unanswered.first().unwrap();
        let epoch = process.epoch;
        let id = CommandId::Node { node, epoch, number, answered_below };
        let command = command(SessionId { node, epoch, number });
        Some(Sent { envelope: Envelope { id, actor: format!("node {node}"), command }, view: None, change: None })
    }

    fn unnumbered(&mut self, command: Command) -> Sent {
        let id = CommandId::Unnumbered;
        Sent { envelope: Envelope { id, actor: "leader".into(), command }, view: None, change: None }
    }

    fn by_an_administrator(&mut self, command: Command) -> Sent {
        let mut sent = self.unnumbered(command);
        sent.envelope.actor = "admin".into();
        if self.random.chance(70) {
            let (ms, low) = (self.wall - self.random.below(50), u128::from(self.random.next()));
            sent.envelope.id = CommandId::Request(RequestId(u128::from(ms) << 80 | low));
        }
        sent
    }

    fn open(&mut self) -> Option<Sent> {
        let (node, username) = (self.node(), self.user());
        let user = self.state.user(&username)?.clone();
        let now = (username.clone(), self.reference.view(&username)?, user.incarnation, user.credential_revision);
        self.old_views.push(now.clone());
        if self.old_views.len() > 64 {
            let at = self.random.below(64) as usize;
            self.old_views.swap_remove(at);
        }
        let old = self.random.below(self.old_views.len() as u64) as usize;
        let (username, view, incarnation, credential_revision) =
            if self.random.chance(95) { now } else { self.old_views[old].clone() };
        let command = OpenSession {
            username,
            incarnation,
            credential_revision,
            remote: "192.0.2.9:1".into(),
            protocol: "SFTP".into(),
            method: "password".into(),
            ahead: Amount::new(self.random.below(3) as i64 * 40, self.random.below(3) as i64),
        };
        let mut sent = self.numbered(node, |_| Command::OpenSession(command))?;
        sent.view = Some(view);
        let process = self.processes.get_mut(&node)?;
        process.opens.insert(process.next);
        Some(sent)
    }

    /// Closes a session that the node has, or an open of its own whose outcome it does not know.
    fn close(&mut self) -> Option<Sent> {
        let node = self.node();
        let process = &self.processes[&node];
        let (epoch, unknown) =
            (process.epoch, process.unanswered.intersection(&process.opens).copied().collect::<Vec<_>>());
        let known: Vec<u64> = self.reference.sessions.keys().filter(|id| id.node == node).map(|id| id.number).collect();
        let numbers = if self.random.chance(90) || unknown.is_empty() { known } else { unknown };
        if numbers.is_empty() {
            return None;
        }
        let session = SessionId { node, epoch, number: self.random.of(&numbers) };
        self.numbered(node, |_| close_command(session))
    }

    fn any_session(&mut self) -> Option<SessionId> {
        let sessions: Vec<SessionId> = self.reference.sessions.keys().copied().collect();
        (!sessions.is_empty()).then(|| self.random.of(&sessions))
    }

    fn add_slot(&mut self) -> Option<Sent> {
        let session = self.any_session()?;
        self.numbered(session.node, |_| Command::AddSlot(AddSlot { session }))
    }

    fn kill(&mut self) -> Option<Sent> {
        let session = self.any_session()?;
        Some(self.by_an_administrator(Command::KillSession(KillSession { session })))
    }

    fn update(&mut self) -> Sent {
        let username = self.user();
        let (change, patch_of) = self.random.of(&CHANGES);
        let r = self.random.next();
        let mut wished = spec("a");
        change(&mut wished, r);
        let expected_revision = match self.random.below(10) {
            0 => Some(self.random.below(self.index)),
            1 => self.state.user(&username).map(|user| user.revision),
            _ => None,
        };
        let update = UpdateUser { username, expected_revision, patch: patch_of(&wished) };
        let mut sent = self.by_an_administrator(Command::UpdateUser(update));
        sent.change = Some(Change(change, r));
        sent
    }

    fn create(&mut self) -> Sent {
        let username = self.user();
        let home = self.random.of(&HOMES);
        let max_sessions = self.random.below(4) as u32;
        let quota_files = self.random.below(8) / 7 * 9;
        let spec = UserSpec { max_sessions, quota_files, ..spec(home) };
        self.by_an_administrator(Command::CreateUser(CreateUser { username, spec }))
    }

    fn delete(&mut self) -> Sent {
        let username = self.user();
        self.by_an_administrator(Command::DeleteUser(DeleteUser { username, expected_revision: None }))
    }

    fn again(&mut self) -> Option<Sent> {
        if self.repeatable.is_empty() {
            return None;
        }
        let at = self.random.below(self.repeatable.len() as u64) as usize;
        let envelope = self.repeatable[at].clone();
        Some(Sent { envelope, view: None, change: None })
    }

    fn registration(&mut self) -> Sent {
        let node = self.node();
        let process = &self.processes[&node];
        let (mut start, mut replaces) = (process.start + 1, process.epoch);
        match self.random.below(10) {
            0 => start = start.saturating_sub(2),
            1 => replaces = Epoch(replaces.0.saturating_sub(self.random.below(9))),
            _ => {}
        }
        self.unnumbered(Command::RegisterNode(RegisterNode {
            store: 1,
            nonce: 1,
            node,
            start,
            replaces,
            version: "0".into(),
        }))
    }

    /// A word of a scan, as often as not the right one: what is wrong must be refused or change nothing.
    fn scan(&mut self) -> Option<Sent> {
        let accounts: Vec<AccountId> = self.state.accounts().map(|row| row.id).collect();
        let scanned: Vec<AccountId> =
            self.state.accounts().filter(|row| row.scan.is_some()).map(|row| row.id).collect();
        let any = if scanned.is_empty() || self.random.chance(20) { accounts } else { scanned };
        if any.is_empty() {
            return None;
        }
        let account = self.random.of(&any);
        let row = Account::clone(self.state.account(account)?);
        let scan = row.scan.clone();
        let begun = scan.as_ref().map_or(self.index, |scan| scan.begun) + self.random.below(10) / 9;
        let amount = |random: &mut Random| Amount::new(random.below(200) as i64, random.below(9) as i64);
        let node = scan.as_ref().map_or_else(|| self.node(), |scan| scan.node);
        let awaited = scan.and_then(|scan| scan.live).and_then(|live| live.awaited.first().copied());
        if let Some((node, _)) = awaited.filter(|_| self.random.chance(70)) {
            let since = row.holders.get(&(node, self.processes[&node].epoch)).map_or(0, |holder| holder.since);
            let disturbed = self.random.chance(10);
            let reported = if row.is_limited() { Amount::ZERO } else { amount(&mut self.random) };
            let settlement = AccountSettlement { account, since, reported, disturbed, ..AccountSettlement::default() };
            let word = ScanWord { begun, settlement };
            let verb = if self.random.chance(50) { AccountCommand::ScanConfirm } else { AccountCommand::ScanReport };
            return self.numbered(node, |_| Command::Account(verb(word)));
        }
        let epoch = self.processes[&node].epoch;
        let command = match self.random.below(12) {
            0..=4 => {
                let (force, live) = (self.random.chance(50), self.random.chance(80));
                AccountCommand::ScanBegin(ScanBegin { account, node, epoch, force, live })
            }
            5..=8 => {
                let staged = amount(&mut self.random);
                let walked = Walked { found: staged + amount(&mut self.random), staged };
                AccountCommand::ScanWalked(ScanWalked { account, begun, walked })
            }
            9 => AccountCommand::ScanCommit(ScanCommit { account, begun, found: amount(&mut self.random) }),
            10 => AccountCommand::ScanGiveUp(ScanGiveUp { account, begun, reason: "random".into() }),
            _ => AccountCommand::WantScan { account, force: self.random.chance(30) },
        };
        Some(self.unnumbered(Command::Account(command)))
    }

    fn expiry(&mut self) -> Sent {
        let node = self.node();
        let process = &self.processes[&node];
        let (epoch, last_renewal) = (process.epoch, process.renewal);
        self.unnumbered(Command::Expire(Expire { node, epoch, last_renewal }))
    }

    fn renewal(&mut self) -> Sent {
        let mut renewals = Vec::new();
        for node in 1..=NODES {
            if self.random.chance(60) {
                let process = &self.processes[&NodeId(node)];
                let number = (process.renewal + 1).saturating_sub(self.random.below(2));
                renewals.push((NodeId(node), process.epoch, number));
            }
        }
        self.unnumbered(Command::Renew(Renew { term: 1, leader_clock_ms: self.index, renewals }))
    }
}

/// Says what the change of a field makes of a user.
pub fn changed(spec: &UserSpec, change: Change) -> UserSpec {
    let mut after = spec.clone();
    (change.0)(&mut after, change.1);
    after
}
