//! The game: random steps of several nodes over one log, and the truth to hold the log against.

mod ends;
mod in_place;
mod live;
mod log;
mod rest;
mod uploads;

use std::collections::BTreeMap;

use flotilla_model::command::*;
use flotilla_model::*;

pub use live::BROKEN;

use super::process::*;
use crate::world::*;

#[derive(Clone, Copy)]
pub struct Rules {
    pub dying: bool,
    /// Limits are set, removed, raised and lowered.
    pub changing: bool,
    pub byte_limit: i64,
    pub file_limit: i64,
    /// The account is scanned while it is in use; files are renamed, and written and shortened in place.
    pub live: bool,
    /// A rule of the live scan that nodes break.
    pub broken: Option<live::Broken>,
    /// One live scan after the other, and what may go wrong with them.
    pub scans_only: bool,
}

impl Rules {
    pub fn of(byte_limit: i64, file_limit: i64) -> Self {
        Rules { dying: false, changing: false, byte_limit, file_limit, live: false, broken: None, scans_only: false }
    }
    pub fn dying(self) -> Self {
        Rules { dying: true, ..self }
    }
    pub fn changing(self) -> Self {
        Rules { changing: true, ..self }
    }
    pub fn live(self) -> Self {
        Rules { live: true, ..self }
    }
    pub fn broken(self, broken: live::Broken) -> Self {
        Rules { broken: Some(broken), ..self }
    }
    pub fn scans_only(self) -> Self {
        Rules { scans_only: true, ..self.live() }
    }
}

pub struct Game {
    rules: Rules,
    world: World,
    seed: u64,
    dice: u64,
    account: AccountId,
    /// The truth: published files by inode.
    files: BTreeMap<u64, i64>,
    next_inode: u64,
    /// The current process of each node, and those whose epoch ended but which still run.
    current: Vec<Option<Process>>,
    ended: Vec<Process>,
    /// Staged files of processes that crashed: on the disk until their epoch is fenced.
    orphans: BTreeMap<(NodeId, Epoch), Amount>,
    scan: Option<(LogIndex, Option<Amount>)>,
    /// In which of two folders a published file lies, and a walk through them.
    folders: BTreeMap<u64, u64>,
    walk: Option<live::Walk>,
    /// What the process that says something just now has not settled.
    sending: Option<[Amount; 3]>,
    /// Steps for which no session begins and those that are open end.
    resting: u64,
    pub seen: Seen,
}

/// What the games really did: a run in which something never happened shows nothing about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub commands: u64,
    pub published: u64,
    pub replaced: u64,
    pub waited: u64,
    pub waits_granted: u64,
    pub refused: u64,
    pub confirmed: u64,
    pub scans: u64,
    pub overtaken: u64,
    pub late: u64,
    pub fenced: u64,
    pub live_scans: u64,
    pub exact: u64,
    pub disturbed: u64,
    pub tried_out: u64,
    pub grown: u64,
    pub shrunk: u64,
    pub renamed: u64,
}

impl Seen {
    pub fn add(&mut self, other: Seen) {
        self.commands += other.commands;
        self.published += other.published;
        self.replaced += other.replaced;
        self.waited += other.waited;
        self.waits_granted += other.waits_granted;
        self.refused += other.refused;
        self.confirmed += other.confirmed;
        self.scans += other.scans;
        self.overtaken += other.overtaken;
        self.late += other.late;
        self.fenced += other.fenced;
        self.live_scans += other.live_scans;
        self.exact += other.exact;
        self.disturbed += other.disturbed;
        self.tried_out += other.tried_out;
        self.grown += other.grown;
        self.shrunk += other.shrunk;
        self.renamed += other.renamed;
    }
}

const NODES: u64 = 3;

impl Game {
    pub fn new(seed: u64, rules: Rules) -> Self {
        let mut world = World::new(NODES);
        let quota =
            UserSpec { quota_size: rules.byte_limit as u64, quota_files: rules.file_limit as u64, ..spec("home") };
        world.create("demo", quota);
        let account = world.state.user(&name("demo")).unwrap().account;
        world
            .run(Command::Account(AccountCommand::Inspected(Inspected {
                account,
                found: Amount::ZERO,
                uncounted: false,
            })))
            .unwrap();
        let process = |node| {
            let (node, epoch) = (NodeId(node), world.epoch(node));
            Some(Process::new(node, epoch, account, world.state.clone()))
        };
        let current = (1..=NODES).map(process).collect();
        Game {
            rules,
            world,
            seed,
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            account,
            files: BTreeMap::new(),
            next_inode: 1,
            current,
            ended: Vec::new(),
            orphans: BTreeMap::new(),
            scan: None,
            folders: BTreeMap::new(),
            walk: None,
            sending: None,
            resting: 0,
            seen: Seen::default(),
        }
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) % sides
    }

    fn limits(&self) -> Limits {
        self.world.state.user(&name("demo")).unwrap().limits()
    }

    fn row(&self) -> Account {
        Account::clone(self.world.state.account(self.account).unwrap())
    }

    fn run(&mut self, id: CommandId, command: Command) -> Reply {
        self.seen.commands += 1;
        let grant = matches!(&command, Command::Account(AccountCommand::Grant(_)));
        let before = self.row().taken();
        let live = self.row().scan.is_some_and(|scan| scan.live.is_some_and(|live| live.walked.is_some()));
        let reply = self.world.run_as(id, command);
        let sending = self.sending.take();
        if live {
            self.note_scan(sending);
        }
        if grant && !before.fits(self.row().taken()) {
            panic!("seed {}: a grant took room away", self.seed);
        }
        let given = matches!(reply, Ok(Done::Account(AccountDone::Granted { amount, .. })) if !amount.is_zero());
        if grant && given && before != self.row().taken() {
            let Ok(Done::Account(AccountDone::Granted { amount, .. })) = &reply else { unreachable!() };
            let limits = self.limits();
            let taken = self.row().taken();
            assert!(
                (amount.bytes == 0 || taken.bytes <= limits.bytes)
                    && (amount.files == 0 || taken.files <= limits.files),
                "seed {}: {taken:?} granted",
                self.seed
            );
        }
        reply
    }

    fn admin(&mut self, command: AccountCommand) -> Reply {
        self.run(CommandId::Unnumbered, Command::Account(command))
    }

    /// What is on the disk.
    fn stored(&self) -> Amount {
        let published = Amount::new(self.files.values().sum(), self.files.len() as i64);
        let processes = self.current.iter().flatten().chain(&self.ended);
        let others: Amount = processes
            .map(|process| {
                let caught: Amount = process.caught.iter().map(|file| Amount::new(file.size, 1)).sum();
                let held: Amount = process.held.iter().map(|file| Amount::new(file.size, 1)).sum();
                process.staged() + caught + held
            })
            .sum();
        published + others + self.orphans.values().copied().sum()
    }

    fn check(&self) {
        let held = match self.world.index % 64 {
            0 => invariant::check_all(&self.world.state),
            _ => invariant::grants_within_limit(&self.world.state),
        };
        held.unwrap_or_else(|violation| panic!("seed {}, entry {}: {violation}", self.seed, self.world.index));
        let row = self.row();
        if let Some((least, _)) = self.counted(None) {
            assert!(least.fits(row.used), "seed {}: {least:?} settled, {:?} counted", self.seed, row.used);
        }
        let confirmed = row
            .holders
            .iter()
            .filter(|(key, _)| self.world.state.epoch_alive(key.0, key.1))
            .all(|(_, holder)| holder.confirmed >= row.limited_since);
        if !row.is_limited() || !confirmed || self.world.state.account_is_uncertain(&row) {
            return;
        }
        let stored = self.stored();
        assert!(stored.fits(row.taken()), "seed {}: {stored:?} stored, {:?} counted, {row:#?}", self.seed, row.taken());
        if !self.rules.changing {
            let limit = self.limits();
            assert!(stored.fits(Amount::new(limit.bytes, limit.files)), "seed {}: {stored:?} stored", self.seed);
        }
    }

    pub fn step(&mut self) {
        if self.roll(1_500) == 0 {
            self.resting = 400;
        }
        self.resting = self.resting.saturating_sub(1);
        if self.rules.scans_only {
            self.resting = 0;
            match self.roll(8) {
                0..=1 if self.walk.as_ref().is_none_or(|walk| !walk.is_walking()) || self.roll(3) == 0 => {
                    self.live_step()
                }
                _ => {
                    let node = self.roll(NODES) as usize;
                    self.process_step(node);
                }
            }
            return self.check();
        }
        let scanning = if self.resting > 0 { 60 } else { 2 };
        match self.roll(600) {
            0 if self.rules.dying => self.end_an_epoch(),
            1..=12 if self.rules.dying => self.fence_or_settle_dead(),
            13..=14 if self.rules.changing => self.change_limit(),
            15..=54 if self.rules.live && self.resting == 0 => self.live_step(),
            15.. if self.roll(600) < scanning => self.scan_step(),
            _ => {
                let node = self.roll(NODES) as usize;
                self.process_step(node);
            }
        }
        self.check();
    }

    fn process_step(&mut self, node: usize) {
        let Some(mut process) = self.current[node].take() else {
            self.current[node] = self.register_again(node);
            return;
        };
        if self.resting > 0 {
            if process.session.is_some() {
                self.rest_one(&mut process);
            }
        } else if process.session.is_none() {
            self.open(&mut process);
        } else {
            match if self.rules.scans_only { self.focus(process.uploads.len()) } else { self.roll(24) } {
                0..=3 => self.write(&mut process),
                4 => self.start_upload(&mut process),
                5 => self.remove(&mut process),
                6 => self.measure(&mut process),
                7..=8 => self.observe(&mut process),
                9 => self.settle(&mut process),
                10 => self.discard(&mut process),
                11 if self.roll(20) == 0 => self.close(&mut process),
                12 if self.roll(10) == 0 => self.wait_is_over(&mut process),
                13..=17 if self.rules.live => self.in_place(&mut process),
                _ => self.deliver(&mut process),
            }
        }
        self.current[node] = Some(process);
    }

    /// Few uploads, much that goes on in place.
    fn focus(&mut self, uploads: usize) -> u64 {
        match self.roll(60) {
            0..=5 if uploads > 0 => 0,
            0 if self.files.len() < 7 || self.roll(8) == 0 => 4,
            6 if self.roll(3) == 0 => 5,
            7..=9 => 6,
            10..=11 => 9,
            12..=23 => 13,
            24..=33 => 7,
            _ => 23,
        }
    }

    fn change_limit(&mut self) {
        let quota_size = match self.roll(4) {
            0 => 0,
            _ => 20 + self.roll(40),
        };
        self.seen.commands += 1;
        self.world.update("demo", UserPatch { quota_size: Some(quota_size), ..UserPatch::default() }).unwrap();
    }
}
