//! What a running process does: sessions, uploads, caught files, words about waits.

use std::collections::BTreeMap;

use flotilla_model::command::*;
use flotilla_model::*;

use super::super::process::*;
use super::Game;
use crate::world::*;

impl Game {
    pub(super) fn open(&mut self, process: &mut Process) {
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
            (process.scan_confirmed, process.scan_reported) = (0, 0);
        }
    }

    pub(super) fn start_upload(&mut self, process: &mut Process) {
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

    pub(super) fn write(&mut self, process: &mut Process) {
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

    pub(super) fn ask(&mut self, process: &mut Process, at: usize, need: Amount) {
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

    pub(super) fn publish(&mut self, process: &mut Process, at: usize) {
        let upload = process.uploads.swap_remove(at);
        process.publish(&upload);
        self.seen.published += 1;
        if self.roll(3) == 0 {
            self.catch(process);
        }
        if self.rules.live {
            let (inode, folder) = (process.inode_of(upload.number), self.roll(2));
            self.folders.insert(inode, folder);
            self.files.insert(inode, upload.size);
            return;
        }
        self.files.insert(self.next_inode, upload.size);
        self.next_inode += 1;
    }

    pub(super) fn catch(&mut self, process: &mut Process) {
        if self.files.is_empty() {
            return;
        }
        let at = self.roll(self.files.len() as u64) as usize;
        let inode = *self.files.keys().nth(at).unwrap();
        let size = self.files.remove(&inode).unwrap();
        process.caught.push(Caught { inode, size, measured: 0, found: size });
        self.seen.replaced += 1;
    }

    pub(super) fn remove(&mut self, process: &mut Process) {
        if self.roll(3) == 0 {
            self.catch(process);
        }
    }

    pub(super) fn measure(&mut self, process: &mut Process) {
        if let Some(mut file) = process.caught.pop() {
            (file.measured, file.found) = (process.view.applied_index(), file.size);
            if process.open.contains_key(&file.inode) {
                process.held.push(file);
            } else {
                process.credits.push(credit_of(file.inode, file.size, file.measured));
            }
        }
    }

    pub(super) fn discard(&mut self, process: &mut Process) {
        let failed = |upload: &Upload| matches!(upload.stage, UploadStage::Failed(_));
        let given_up = self.roll(20) == 0;
        let quits = |upload: &Upload| failed(upload) || (given_up && upload.stage == UploadStage::Running);
        if let Some(at) = process.uploads.iter().position(quits) {
            let upload = process.uploads.swap_remove(at);
            process.free(&upload);
        }
    }

    pub(super) fn wait_is_over(&mut self, process: &mut Process) {
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

    pub(super) fn close(&mut self, process: &mut Process) {
        let quiet = process.uploads.is_empty()
            && process.caught.is_empty()
            && process.flights.is_empty()
            && process.open.is_empty()
            && process.writing.is_empty()
            && process.moving + process.shrinking == 0;
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
}
