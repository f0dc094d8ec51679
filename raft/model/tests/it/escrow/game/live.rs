//! Live scans in the game: staging, one folder, the other, staging again, while everything goes on.

use std::collections::BTreeMap;

use flotilla_model::command::*;
use flotilla_model::event::Fact;
use flotilla_model::*;

use super::super::process::*;
use super::{Game, NODES};

/// What nodes must not do in a live scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The walk begins before all have confirmed.
    EarlyWalk,
    /// Staging is not walked again at the end.
    NoLastStaging,
    /// A report that settles nothing.
    EmptyReport,
    SilentRename,
    SilentShrink,
    /// A write that began before the confirmation is not told.
    SilentOldWrite,
    /// A report says nothing of renames and shrinks that are not over.
    SilentMoving,
    /// A report says nothing of writes that began before the confirmation and are not over.
    SilentOldWriting,
    /// Open files count as charged for what they were once.
    KeepsCharged,
    /// A report says nothing of removed files that are open.
    SilentHeld,
    /// Who has an open file removed has it credited as it was charged before the scan.
    StaleCredit,
}

/// With the first game to look for it in.
pub const BROKEN: [(Broken, u64); 11] = [
    (Broken::EarlyWalk, 7_000),
    (Broken::NoLastStaging, 7_000),
    (Broken::EmptyReport, 7_000),
    (Broken::SilentRename, 7_000),
    (Broken::SilentShrink, 7_000),
    (Broken::SilentOldWrite, 8_000),
    (Broken::SilentMoving, 7_000),
    (Broken::SilentOldWriting, 7_100),
    (Broken::KeepsCharged, 7_700),
    (Broken::SilentHeld, 7_000),
    (Broken::StaleCredit, 7_700),
];

#[derive(Default)]
pub struct Walk {
    begun: LogIndex,
    part: u64,
    seen: BTreeMap<u64, i64>,
    staged: BTreeMap<u64, i64>,
    waited: u64,
}

const STAGING_AGAIN: u64 = 3;

impl Walk {
    pub fn is_walking(&self) -> bool {
        (1..=STAGING_AGAIN).contains(&self.part)
    }
}

impl Game {
    fn breaks(&self, broken: Broken) -> bool {
        self.rules.broken == Some(broken)
    }

    /// One part of the walk, or its begin or end.
    pub(super) fn live_step(&mut self) {
        let Some(mut walk) = self.walk.take() else { return self.begin_live() };
        let scan = self.row().scan.filter(|scan| scan.begun == walk.begun);
        let Some(live) = scan.and_then(|scan| scan.live) else { return };
        walk.waited += 1;
        if walk.waited > 300 {
            let (account, begun) = (self.account, walk.begun);
            let reason = "somebody does not answer".into();
            self.admin(AccountCommand::ScanGiveUp(ScanGiveUp { account, begun, reason })).unwrap();
            return;
        }
        let may_walk = live.barrier.is_some() || self.breaks(Broken::EarlyWalk);
        if live.walked.is_none() && may_walk && walk.part <= STAGING_AGAIN {
            self.walk_part(&mut walk);
        } else if live.walked.is_none() && live.barrier.is_some() {
            let sum = |files: &BTreeMap<u64, i64>| Amount::new(files.values().sum(), files.len() as i64);
            let walked = Walked { found: sum(&walk.seen), staged: sum(&walk.staged) };
            let walked = ScanWalked { account: self.account, begun: walk.begun, walked };
            if let Err(refusal) = self.admin(AccountCommand::ScanWalked(walked)) {
                let ended = matches!(refusal, Refusal::Account(AccountRefusal::EndedDuringScan { .. }));
                assert!(ended, "seed {}: {refusal}", self.seed);
                return;
            }
        }
        self.walk = Some(walk);
    }

    fn begin_live(&mut self) {
        let row = self.row();
        if self.scan.is_some() || !(self.world.state.wants_scan(&row) || self.roll(4) == 0) {
            return;
        }
        let any = NodeId(1 + self.roll(NODES));
        let node = row.scan.map_or(any, |scan| scan.node);
        let epoch = self.world.epoch(node.0);
        let begin = ScanBegin { account: self.account, node, epoch, force: false, live: true };
        if let Ok(Done::Account(AccountDone::ScanBegun { begun })) = self.admin(AccountCommand::ScanBegin(begin)) {
            self.walk = Some(Walk { begun, ..Walk::default() });
        }
    }

    fn walk_part(&mut self, walk: &mut Walk) {
        let part = walk.part;
        walk.part += 1;
        let mut found: Vec<(u64, i64)> = Vec::new();
        if part == 1 || part == 2 {
            let here = self.files.iter().filter(|(inode, _)| self.folders.get(inode) == Some(&(part - 1)));
            found.extend(here.map(|(inode, size)| (*inode, *size)));
        } else if part == 0 || !self.breaks(Broken::NoLastStaging) {
            for process in self.current.iter().flatten().chain(&self.ended) {
                found.extend(process.caught.iter().map(|file| (file.inode, file.size)));
                let uploads = process.uploads.iter().filter(|upload| upload.written > 0);
                found.extend(uploads.map(|upload| (process.inode_of(upload.number), upload.written)));
            }
            for (inode, size) in &found {
                let largest = walk.staged.entry(*inode).or_default();
                *largest = (*largest).max(*size);
            }
        }
        for (inode, size) in found {
            let largest = walk.seen.entry(inode).or_default();
            *largest = (*largest).max(size);
        }
    }

    /// Confirms and reports; whether it has said something now.
    pub(super) fn take_part_in_scan(&mut self, process: &mut Process, row: &Account) -> bool {
        let live = row.scan.as_ref().and_then(|scan| Some((scan.begun, scan.live.as_ref()?)));
        let Some((begun, live)) = live else { return false };
        if process.is_carrying() || !live.awaited.contains(&(process.node, process.epoch)) {
            return false;
        }
        if live.walked.is_none() {
            if process.scan_confirmed == begun {
                return false;
            }
            process.scan_confirmed = begun;
            process.moved = false;
            let stale = !self.breaks(Broken::KeepsCharged);
            process.open.values_mut().for_each(|file| file.stale |= stale);
            let settlement = process.pack(false);
            self.send_word(process, begun, settlement, AccountCommand::ScanConfirm);
        } else {
            if process.scan_reported == begun {
                return false;
            }
            process.scan_reported = begun;
            let empty = self.breaks(Broken::EmptyReport);
            let (account, since) = (self.account, process.since);
            let nothing = AccountSettlement { account, since, ..AccountSettlement::default() };
            let mut settlement = if empty { nothing } else { process.pack(false) };
            let old = process.writing.iter().any(|writing| writing.begun_before < begun);
            settlement.disturbed |= (process.moving + process.shrinking > 0 && !self.breaks(Broken::SilentMoving))
                || (old && !self.breaks(Broken::SilentOldWriting))
                || (!process.held.is_empty() && !self.breaks(Broken::SilentHeld));
            self.send_word(process, begun, settlement, AccountCommand::ScanReport);
        }
        true
    }

    fn send_word(
        &mut self,
        process: &mut Process,
        begun: LogIndex,
        settlement: AccountSettlement,
        verb: fn(ScanWord) -> AccountCommand,
    ) {
        let carried = Carried::Parcel { parcel: settlement.clone(), answer: None, confirm: None };
        process.send(Command::Account(verb(ScanWord { begun, settlement })), carried);
    }

    /// What became of a scan that had been walked.
    pub(super) fn note_scan(&mut self, sending: Option<[Amount; 3]>) {
        if self.row().scan.is_some() {
            return;
        }
        let says = |fact: fn(&Fact) -> bool| self.world.last.events.iter().any(|event| fact(&event.fact));
        let taken = says(|fact| matches!(fact, Fact::AccountScanned { .. }));
        let larger = says(|fact| matches!(fact, Fact::AccountMarked { reason, .. } if reason.contains("larger")));
        self.seen.live_scans += u64::from(taken);
        self.seen.disturbed += u64::from(!taken);
        self.seen.tried_out += u64::from(larger);
        if taken && !self.row().marked {
            self.seen.exact += 1;
            self.assert_exact(sending);
        }
    }

    /// A scan that says of itself that it is exact counts what is stored, apart from what is not settled.
    fn assert_exact(&self, sending: Option<[Amount; 3]>) {
        let Some((least, most)) = self.counted(sending) else { return };
        let used = self.row().used;
        assert!(least.fits(used) && used.fits(most), "seed {}: {used:?} of {least:?} to {most:?}", self.seed);
    }

    /// What is stored and settled, with and without credits that are on their way; unknown where nodes die.
    pub(super) fn counted(&self, sending: Option<[Amount; 3]>) -> Option<(Amount, Amount)> {
        if self.rules.dying {
            return None;
        }
        let all = self.current.iter().flatten().map(Process::unsettled).chain(sending);
        let [taken, spent, credits] = all.reduce(|sum, part| [sum[0] + part[0], sum[1] + part[1], sum[2] + part[2]])?;
        let published = Amount::new(self.files.values().sum(), self.files.len() as i64);
        let least = published + taken - spent;
        Some((least, least + credits))
    }

    /// Later processes of all nodes: no thread of the dead ones runs any more.
    fn restart_all(&mut self) {
        for node in 0..NODES as usize {
            if let Some(process) = self.current[node].take() {
                self.world.expire(node as u64 + 1).unwrap();
                self.leave_behind(process);
            }
        }
        while !self.ended.is_empty() {
            self.thaw(0);
        }
        for node in 0..NODES as usize {
            self.current[node] = self.register_again(node);
        }
    }

    /// Sessions are open and nothing happens: a scan finds to the byte what is stored, and says so.
    pub(super) fn scan_in_use_at_rest(&mut self) {
        if self.rules.dying {
            self.restart_all();
        }
        for _ in 0..100 {
            self.fence();
        }
        (self.scan, self.walk) = (None, None);
        let mut since = LogIndex::MAX;
        for round in 0..6_000 {
            for node in 0..NODES as usize {
                let mut process = self.current[node].take().unwrap();
                if process.session.is_none() && round < 2 {
                    self.open(&mut process);
                }
                self.rest_but_stay(&mut process);
                self.current[node] = Some(process);
                self.check();
            }
            if round < 300 {
                since = self.world.index;
                continue;
            }
            self.live_step();
            if self.row().scan_committed > since && !self.row().marked {
                let used = self.row().used;
                assert_eq!(used, self.stored(), "seed {}: {:#?}", self.seed, self.row());
                return;
            }
        }
        panic!("seed {}: is never scanned exactly at rest: {:#?}", self.seed, self.row());
    }
}
