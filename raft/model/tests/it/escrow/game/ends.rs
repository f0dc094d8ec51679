//! Epochs that end: crashes, freezes, registrations, fences, late settlements.

use flotilla_model::command::*;
use flotilla_model::*;

use super::super::process::*;
use super::{Game, NODES};

impl Game {
    pub(super) fn end_an_epoch(&mut self) {
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
    pub(super) fn leave_behind(&mut self, process: Process) {
        if self.roll(2) == 0 {
            let caught: Amount = process.caught.iter().map(|file| Amount::new(file.size, 1)).sum();
            *self.orphans.entry((process.node, process.epoch)).or_default() += process.staged() + caught;
        } else {
            self.ended.push(process);
        }
    }

    pub(super) fn register_again(&mut self, node: usize) -> Option<Process> {
        let id = NodeId(node as u64 + 1);
        let row = self.world.state.node(id).unwrap();
        let runs_still = self.ended.iter().any(|process| process.node == id);
        // A process that runs still is the one that registers; a later one has a later start number.
        let start = if runs_still { row.start } else { row.start + 1 };
        let command =
            RegisterNode { node: id, store: 1, nonce: 1, start, replaces: row.last_epoch, version: "test".into() };
        self.seen.commands += 1;
        self.world.run(Command::RegisterNode(command)).unwrap();
        Some(Process::new(id, self.world.epoch(id.0), self.account, self.world.state.clone()))
    }

    pub(super) fn fence_or_settle_dead(&mut self) {
        if self.roll(2) == 0 {
            self.fence();
        } else if !self.ended.is_empty() {
            let at = self.roll(self.ended.len() as u64) as usize;
            self.thaw(at);
        }
    }

    pub(super) fn fence(&mut self) {
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
    pub(super) fn thaw(&mut self, at: usize) {
        let mut process = self.ended.swap_remove(at);
        while let Some(flight) = process.flights.pop() {
            let reply = self.run(process.id(flight.number), flight.command.clone());
            assert!(matches!(reply, Err(Refusal::StaleEpoch { .. }) | Ok(Done::Nothing)), "{reply:?}");
        }
        self.end_in_place(&mut process);
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
            mark: process.shrunk,
        };
        self.seen.late += 1;
        for _ in 0..1 + self.roll(2) {
            self.admin(AccountCommand::SettleDead(command.clone())).unwrap();
        }
    }
}
