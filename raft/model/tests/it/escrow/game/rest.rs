//! Scans, and the end of a game: all comes to rest, and what is counted is what is stored.

use flotilla_model::command::*;
use flotilla_model::*;

use super::super::process::*;
use super::{Game, NODES};

impl Game {
    pub(super) fn scan_step(&mut self) {
        let wanted = self.world.state.wants_scan(&self.row()) || self.roll(10) == 0;
        match self.scan {
            None if wanted => {
                let node = 1 + self.roll(NODES);
                let (node, epoch) = (NodeId(node), self.world.epoch(node));
                let begin = ScanBegin { account: self.account, node, epoch, force: false, live: false };
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

    /// Everything that is on the way arrives, everything open ends, everything dead is fenced and settled; then counted is stored.
    pub fn come_to_rest(&mut self) {
        let crashed = !self.orphans.is_empty() || self.rules.dying;
        while !self.ended.is_empty() {
            self.thaw(0);
            self.check();
        }
        if self.rules.live {
            self.scan_in_use_at_rest();
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

    pub(super) fn rest_one(&mut self, process: &mut Process) {
        self.rest_but_stay(process);
        self.close(process);
    }

    /// All that the process has begun comes to its end; its session stays.
    pub(super) fn rest_but_stay(&mut self, process: &mut Process) {
        self.end_in_place(process);
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
    }

    pub(super) fn scan_at_last(&mut self) {
        (self.scan, self.walk) = (None, None);
        // Later processes of all nodes: no thread of the dead ones runs any more.
        for node in 0..NODES as usize {
            if let Some(process) = self.current[node].take() {
                drop(process);
            }
            self.current[node] = self.register_again(node);
        }
        let node = NodeId(1);
        let begin = ScanBegin { account: self.account, node, epoch: self.world.epoch(1), force: false, live: false };
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
