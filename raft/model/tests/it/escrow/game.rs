//! The game: random steps of several nodes over one log, and the truth to hold the log against.

use std::collections::BTreeMap;

use flotilla_model::command::*;
use flotilla_model::*;

use super::process::*;
use crate::world::*;

#[derive(Clone, Copy)]
pub struct Rules {
    pub dying: bool,
    /// Limits are set, removed, raised and lowered.
    pub changing: bool,
    pub byte_limit: i64,
    pub file_limit: i64,
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
        let reply = self.world.run_as(id, command);
        if grant && !before.fits(self.row().taken()) {
            panic!("seed {}: a grant took room away", self.seed);
        }
        let given = matches!(reply, Ok(Done::Account(AccountDone::Granted { amount, .. })) if !amount.is_zero());
        if grant && given && before != self.row().taken() {
            let limits = self.limits();
            let taken = self.row().taken();
            assert!(
                taken.bytes <= limits.bytes && taken.files <= limits.files,
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
                process.staged() + caught
            })
            .sum();
        published + others + self.orphans.values().copied().sum()
    }

    fn check(&self) {
        let row = self.row();
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
        let scanning = if self.resting > 0 { 60 } else { 2 };
        match self.roll(600) {
            0 if self.rules.dying => self.end_an_epoch(),
            1..=12 if self.rules.dying => self.fence_or_settle_dead(),
            13..=14 if self.rules.changing => self.change_limit(),
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
            match self.roll(24) {
                0..=3 => self.write(&mut process),
                4 => self.start_upload(&mut process),
                5 => self.remove(&mut process),
                6 => self.measure(&mut process),
                7..=8 => self.observe(&mut process),
                9 => self.settle(&mut process),
                10 => self.discard(&mut process),
                11 if self.roll(20) == 0 => self.close(&mut process),
                12 if self.roll(10) == 0 => self.wait_is_over(&mut process),
                _ => self.deliver(&mut process),
            }
        }
        self.current[node] = Some(process);
    }

    fn open(&mut self, process: &mut Process) {
        let (number, command) = (process.next_number, self.world.open_command("demo"));
        process.next_number += 1;
        let id = process.id(number);
        if let Ok(Done::Opened { session }) = self.run(id, command) {
            process.session = Some(session);
            process.view = self.world.state.clone();
            let row = process.row();
            let holder = &row.holders[&(process.node, process.epoch)];
            (process.since, process.confirmed, process.limited) = (holder.since, holder.confirmed, row.is_limited());
            process.total = Amount::ZERO;
        }
    }

    fn start_upload(&mut self, process: &mut Process) {
        if process.uploads.len() >= 3 {
            return;
        }
        let size = 1 + self.roll(16) as i64;
        let number = process.next_upload;
        process.next_upload += 1;
        process.uploads.push(Upload {
            number,
            size,
            written: 0,
            chunk: 0,
            held: BTreeMap::new(),
            order: None,
            stage: UploadStage::Running,
        });
    }

    fn write(&mut self, process: &mut Process) {
        if process.uploads.is_empty() {
            return;
        }
        let at = self.roll(process.uploads.len() as u64) as usize;
        let upload = &process.uploads[at];
        if upload.stage != UploadStage::Running {
            return;
        }
        if upload.written == upload.size {
            return self.publish(process, at);
        }
        let chunk = (1 + self.roll(5) as i64).min(upload.size - upload.written);
        let want = Amount::new(chunk, i64::from(process.uploads[at].written == 0));
        let limits = process.view.user(&name("demo")).unwrap().limits();
        process.uploads[at].chunk = chunk;
        if process.spend(at, limits, want) {
            process.uploads[at].written += chunk;
        } else if !process.is_asking() {
            self.ask(process, at, want);
        }
    }

    fn ask(&mut self, process: &mut Process, at: usize, need: Amount) {
        let ahead = Amount::new(self.roll(12) as i64, self.roll(3) as i64);
        let upload = &process.uploads[at];
        let (number, holds) = (upload.number, upload.room());
        let grant = Grant {
            account: self.account,
            username: name("demo"),
            incarnation: self.world.state.user(&name("demo")).unwrap().incarnation,
            need,
            ahead,
            holds,
            order: upload.order.filter(|_| holds.is_positive()),
        };
        let command = Command::Account(AccountCommand::Grant(grant));
        let ask = process.send(command, Carried::Grant { upload: number, need });
        process.uploads[at].stage = UploadStage::Asked(ask);
    }

    fn publish(&mut self, process: &mut Process, at: usize) {
        let upload = process.uploads.swap_remove(at);
        process.publish(&upload);
        self.seen.published += 1;
        if self.roll(3) == 0 {
            self.catch(process);
        }
        self.files.insert(self.next_inode, upload.size);
        self.next_inode += 1;
    }

    fn catch(&mut self, process: &mut Process) {
        if self.files.is_empty() {
            return;
        }
        let at = self.roll(self.files.len() as u64) as usize;
        let inode = *self.files.keys().nth(at).unwrap();
        let size = self.files.remove(&inode).unwrap();
        process.caught.push(Caught { inode, size });
        self.seen.replaced += 1;
    }

    fn remove(&mut self, process: &mut Process) {
        if self.roll(3) == 0 {
            self.catch(process);
        }
    }

    fn measure(&mut self, process: &mut Process) {
        if let Some(file) = process.caught.pop() {
            process.credits.push(CreditItem {
                amount: Amount::new(file.size, 1),
                inode: CreditedInode { inode: file.inode, birth_ns: 1 },
                measured: process.view.applied_index(),
            });
        }
    }

    fn observe(&mut self, process: &mut Process) {
        process.view = self.world.state.clone();
        let (granted, refused) = process.take_outcomes();
        self.seen.waits_granted += granted;
        self.seen.refused += refused;
        let row = process.row();
        let Some(holder) = row.holders.get(&(process.node, process.epoch)) else { return };
        if row.is_limited() && process.confirmed < row.limited_since {
            if !process.is_carrying() {
                self.confirm(process, row.limited_since);
            }
            return;
        }
        process.limited = row.is_limited();
        let wanted = if row.has_waiting() { row.recall.max(holder.last_grant) } else { row.recall };
        let news = row.has_waiting() && self.roll(4) == 0;
        if (process.answered < wanted || news) && !process.is_carrying() && !process.is_asking() {
            let (begun, uploads) = (process.view.applied_index(), process.open_uploads());
            let parcel = process.pack(true);
            let answer = RecallAnswer { settlement: parcel.clone(), begun, uploads };
            let carried = Carried::Parcel { parcel, answer: Some(begun), confirm: None };
            process.send(Command::Account(AccountCommand::Answer(answer)), carried);
        }
    }

    fn confirm(&mut self, process: &mut Process, limited_since: LogIndex) {
        process.limited = true;
        self.seen.confirmed += 1;
        let mut held = Amount::ZERO;
        for upload in &mut process.uploads {
            if let Some(amount) = upload.held.remove(&None) {
                *upload.held.entry(Some(Limits::NONE)).or_default() += amount;
                held += amount;
            }
        }
        let parcel = process.pack(false);
        let confirm = ConfirmLimited { settlement: parcel.clone(), limited_since, held };
        let carried = Carried::Parcel { parcel, answer: None, confirm: Some(limited_since) };
        process.send(Command::Account(AccountCommand::Confirm(confirm)), carried);
    }

    fn settle(&mut self, process: &mut Process) {
        if process.is_carrying() || !process.is_dirty() {
            return;
        }
        let parcel = process.pack(false);
        let settle = Settle { accounts: vec![parcel.clone()] };
        let carried = Carried::Parcel { parcel, answer: None, confirm: None };
        process.send(Command::Account(AccountCommand::Settle(settle)), carried);
    }

    fn discard(&mut self, process: &mut Process) {
        let failed = |upload: &Upload| matches!(upload.stage, UploadStage::Failed(_));
        let given_up = self.roll(20) == 0;
        let quits = |upload: &Upload| failed(upload) || (given_up && upload.stage == UploadStage::Running);
        if let Some(at) = process.uploads.iter().position(quits) {
            let upload = process.uploads.swap_remove(at);
            process.free(&upload);
        }
    }

    fn wait_is_over(&mut self, process: &mut Process) {
        let time_over = self.roll(2) == 0;
        let waits = process.uploads.iter().find_map(|upload| match upload.stage {
            UploadStage::Waits(number) => Some(number),
            _ => None,
        });
        if let Some(number) = waits {
            let word = WaitOver { account: self.account, number, time_over, buffer_full: !time_over, gone: false };
            process.send(Command::Account(AccountCommand::WaitOver(word)), Carried::Word);
        }
    }

    fn close(&mut self, process: &mut Process) {
        let quiet = process.uploads.is_empty() && process.caught.is_empty() && process.flights.is_empty();
        if !quiet {
            return;
        }
        if process.is_dirty() || process.unspent().is_positive() {
            let parcel = process.pack(true);
            let settle = Settle { accounts: vec![parcel.clone()] };
            let carried = Carried::Parcel { parcel, answer: None, confirm: None };
            process.send(Command::Account(AccountCommand::Settle(settle)), carried);
        } else if let Some(session) = process.session {
            process.send(close_command(session), Carried::Close);
        }
    }

    /// One of the commands on the way arrives; its answer may be lost, then it comes again.
    fn deliver(&mut self, process: &mut Process) {
        if process.flights.is_empty() {
            return;
        }
        let at = self.roll(process.flights.len() as u64) as usize;
        let (number, command) = (process.flights[at].number, process.flights[at].command.clone());
        let reply = self.run(process.id(number), command);
        if self.roll(5) == 0 {
            return;
        }
        let flight = process.flights.swap_remove(at);
        process.view = self.world.state.clone();
        self.answered(process, flight, reply);
    }

    fn answered(&mut self, process: &mut Process, flight: Flight, reply: Reply) {
        match flight.carried {
            Carried::Grant { upload, need } => self.asked(process, upload, need, flight.number, reply),
            Carried::Parcel { parcel, answer, confirm } => {
                if reply.is_ok() {
                    process.answered = process.answered.max(answer.unwrap_or(0));
                    process.confirmed = process.confirmed.max(confirm.unwrap_or(0));
                } else {
                    process.unpack(parcel);
                }
            }
            Carried::Word => {}
            Carried::Close => process.session = None,
        }
    }

    fn asked(&mut self, process: &mut Process, upload: u64, need: Amount, ask: u64, reply: Reply) {
        let asking = |each: &&mut Upload| each.number == upload && each.stage == UploadStage::Asked(ask);
        let found = process.uploads.iter_mut().find(asking);
        match reply {
            Ok(Done::Account(AccountDone::Granted { index, limits, amount })) => {
                let number = found.map(|each| {
                    each.stage = UploadStage::Running;
                    each.written += each.chunk;
                    each.number
                });
                process.deliver(number, need, limits, amount, index);
            }
            Ok(Done::Account(AccountDone::Waiting)) => {
                self.seen.waited += 1;
                if let Some(each) = found {
                    each.stage = UploadStage::Waits(ask);
                }
            }
            _ => {
                if let Some(each) = found {
                    each.stage = UploadStage::Failed(None);
                }
            }
        }
    }

    fn end_an_epoch(&mut self) {
        let node = self.roll(NODES) as usize;
        let Some(process) = self.current[node].take() else { return };
        let again = self.roll(2) == 0;
        if !again {
            self.world.expire(node as u64 + 1).unwrap();
        }
        self.leave_behind(process);
        if again {
            self.current[node] = self.register_again(node);
        }
    }

    /// The process crashes, or is frozen and will thaw.
    fn leave_behind(&mut self, process: Process) {
        if self.roll(2) == 0 {
            let caught: Amount = process.caught.iter().map(|file| Amount::new(file.size, 1)).sum();
            *self.orphans.entry((process.node, process.epoch)).or_default() += process.staged() + caught;
        } else {
            self.ended.push(process);
        }
    }

    fn register_again(&mut self, node: usize) -> Option<Process> {
        let id = NodeId(node as u64 + 1);
        let row = self.world.state.node(id).unwrap();
        let runs_still = self.ended.iter().any(|process| process.node == id);
        // A process that runs still is the one that registers; a later one has a later start number.
        let start = if runs_still { row.start } else { row.start + 1 };
        let command = RegisterNode { node: id, start, replaces: row.last_epoch, version: "test".into() };
        self.seen.commands += 1;
        self.world.run(Command::RegisterNode(command)).unwrap();
        Some(Process::new(id, self.world.epoch(id.0), self.account, self.world.state.clone()))
    }

    fn fence_or_settle_dead(&mut self) {
        if self.roll(2) == 0 {
            self.fence();
        } else if !self.ended.is_empty() {
            let at = self.roll(self.ended.len() as u64) as usize;
            self.thaw(at);
        }
    }

    fn fence(&mut self) {
        let row = self.row();
        let state = &self.world.state;
        let dead = row.holders.iter().find(|(key, holder)| !state.epoch_alive(key.0, key.1) && !holder.fenced);
        let Some(((node, epoch), _)) = dead else { return };
        let (node, epoch) = (*node, *epoch);
        self.orphans.remove(&(node, epoch));
        self.seen.fenced += 1;
        for process in self.ended.iter_mut().filter(|process| (process.node, process.epoch) == (node, epoch)) {
            // The folder is gone: neither staged nor caught files of it are on the disk.
            process.uploads.iter_mut().for_each(|upload| upload.written = 0);
            process.caught.clear();
        }
        self.admin(AccountCommand::Fenced(Fenced { account: self.account, node, epoch })).unwrap();
    }

    /// A process whose epoch ended comes back: its late commands are stale, its staged files are unlinked, it settles its epoch.
    fn thaw(&mut self, at: usize) {
        let mut process = self.ended.swap_remove(at);
        while let Some(flight) = process.flights.pop() {
            let reply = self.run(process.id(flight.number), flight.command.clone());
            assert!(matches!(reply, Err(Refusal::StaleEpoch { .. }) | Ok(Done::Nothing)), "{reply:?}");
        }
        process.uploads.clear();
        // What it caught it measures late; a credit that comes after a scan changes nothing.
        while !process.caught.is_empty() {
            self.measure(&mut process);
        }
        if process.session.is_none() && process.total.is_zero() && process.credits.is_empty() {
            return;
        }
        let command = SettleDead {
            account: self.account,
            node: process.node,
            epoch: process.epoch,
            since: process.since,
            total: process.total,
            credits: process.credits.clone(),
            mark: false,
        };
        self.seen.late += 1;
        for _ in 0..1 + self.roll(2) {
            self.admin(AccountCommand::SettleDead(command.clone())).unwrap();
        }
    }

    fn scan_step(&mut self) {
        let wanted = self.world.state.wants_scan(&self.row()) || self.roll(10) == 0;
        match self.scan {
            None if wanted => {
                let node = 1 + self.roll(NODES);
                let (node, epoch) = (NodeId(node), self.world.epoch(node));
                let begin = ScanBegin { account: self.account, node, epoch, force: false };
                if let Ok(Done::Account(AccountDone::ScanBegun { begun })) =
                    self.admin(AccountCommand::ScanBegin(begin))
                {
                    self.scan = Some((begun, None));
                }
            }
            None => {}
            Some((begun, None)) => self.scan = Some((begun, Some(self.stored()))),
            Some((begun, Some(found))) => {
                let commit = ScanCommit { account: self.account, begun, found };
                match self.admin(AccountCommand::ScanCommit(commit)) {
                    Ok(_) => self.seen.scans += 1,
                    Err(_) => self.seen.overtaken += 1,
                }
                self.scan = None;
            }
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

    /// Everything that is on the way arrives, everything open ends, everything dead is fenced and settled; then counted is stored.
    pub fn come_to_rest(&mut self) {
        let crashed = !self.orphans.is_empty() || self.rules.dying;
        while !self.ended.is_empty() {
            self.thaw(0);
            self.check();
        }
        for round in 0..5_000 {
            let mut quiet = true;
            for node in 0..NODES as usize {
                let Some(mut process) = self.current[node].take() else { continue };
                if process.session.is_some() {
                    quiet = false;
                    self.rest_one(&mut process);
                }
                self.current[node] = Some(process);
                self.check();
            }
            if quiet {
                break;
            }
            assert!(round < 4_999, "seed {}: does not come to rest: {:#?}", self.seed, self.row());
        }
        for _ in 0..100 {
            self.fence();
        }
        let row = self.row();
        assert!(
            row.waiters.values().all(|waiter| waiter.state == WaiterState::Waiting),
            "seed {}: {row:#?}",
            self.seed
        );
        if !crashed && !row.marked {
            assert_eq!((row.used, row.outstanding()), (self.stored(), Amount::ZERO), "seed {}", self.seed);
        }
        self.scan_at_last();
    }

    fn rest_one(&mut self, process: &mut Process) {
        self.deliver(process);
        self.observe(process);
        let done = |upload: &Upload| upload.stage == UploadStage::Running;
        if let Some(at) = process.uploads.iter().position(done) {
            let upload = process.uploads.swap_remove(at);
            process.free(&upload);
        }
        self.discard(process);
        self.measure(process);
        self.settle(process);
        self.close(process);
    }

    fn scan_at_last(&mut self) {
        self.scan = None;
        // Later processes of all nodes: no thread of the dead ones runs any more.
        for node in 0..NODES as usize {
            if let Some(process) = self.current[node].take() {
                drop(process);
            }
            self.current[node] = self.register_again(node);
        }
        let node = NodeId(1);
        let begin = ScanBegin { account: self.account, node, epoch: self.world.epoch(1), force: false };
        for _ in 0..10 {
            self.fence();
        }
        let begun = match self.admin(AccountCommand::ScanBegin(begin)) {
            Ok(Done::Account(AccountDone::ScanBegun { begun })) => begun,
            other => panic!("seed {}: {other:?}", self.seed),
        };
        let found = self.stored();
        self.admin(AccountCommand::ScanCommit(ScanCommit { account: self.account, begun, found })).unwrap();
        let row = self.row();
        assert_eq!((row.used, row.taken(), row.marked), (found, found, false), "seed {}", self.seed);
    }
}
