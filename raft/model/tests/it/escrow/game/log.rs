//! What goes to the log and comes back: answers, confirmations, settlements, deliveries that repeat.

use flotilla_model::command::*;
use flotilla_model::*;

use super::super::process::*;
use super::Game;

impl Game {
    pub(super) fn observe(&mut self, process: &mut Process) {
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
        if self.take_part_in_scan(process, &row) {
            return;
        }
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

    pub(super) fn confirm(&mut self, process: &mut Process, limited_since: LogIndex) {
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

    pub(super) fn settle(&mut self, process: &mut Process) {
        if process.is_carrying() || !process.is_dirty() {
            return;
        }
        let parcel = process.pack(false);
        let settle = Settle { accounts: vec![parcel.clone()] };
        let carried = Carried::Parcel { parcel, answer: None, confirm: None };
        process.send(Command::Account(AccountCommand::Settle(settle)), carried);
    }

    /// One of the commands on the way arrives; its answer may be lost, then it comes again.
    pub(super) fn deliver(&mut self, process: &mut Process) {
        if process.flights.is_empty() {
            return;
        }
        let at = self.roll(process.flights.len() as u64) as usize;
        let (number, command) = (process.flights[at].number, process.flights[at].command.clone());
        process.flights[at].applied = true;
        self.sending = Some(process.unsettled());
        let reply = self.run(process.id(number), command);
        if self.roll(5) == 0 {
            return;
        }
        let flight = process.flights.swap_remove(at);
        process.view = self.world.state.clone();
        self.answered(process, flight, reply);
    }

    pub(super) fn answered(&mut self, process: &mut Process, flight: Flight, reply: Reply) {
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

    pub(super) fn asked(&mut self, process: &mut Process, upload: u64, need: Amount, ask: u64, reply: Reply) {
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
}
