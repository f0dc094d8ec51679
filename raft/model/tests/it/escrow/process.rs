//! One process of a node, as the escrow sees it: its pots, uploads and what it has to tell the log. The node's rules in small.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_model::command::*;
use flotilla_model::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadStage {
    Running,
    /// Its `Grant` is on the way: number.
    Asked(u64),
    /// It waits in the log.
    Waits(u64),
    /// Refused or given up; its staged file is still there. The number of the refused ask.
    Failed(Option<u64>),
}

#[derive(Clone, Debug)]
pub struct Upload {
    pub number: u64,
    pub size: i64,
    pub written: i64,
    pub chunk: i64,
    pub held: BTreeMap<Option<Limits>, Amount>,
    pub order: Option<UploadOrder>,
    pub stage: UploadStage,
}

impl Upload {
    pub fn room(&self) -> Amount {
        self.held.values().copied().sum()
    }
}

/// A file taken from its name: on the disk until it is measured and unlinked.
#[derive(Clone, Copy, Debug)]
pub struct Caught {
    pub inode: u64,
    pub size: i64,
    /// When and how large it was measured, if it was.
    pub measured: LogIndex,
    pub found: i64,
}

pub fn credit_of(inode: u64, size: i64, measured: LogIndex) -> CreditItem {
    CreditItem { amount: Amount::new(size, 1), inode: CreditedInode { inode, birth_ns: 1 }, measured }
}

/// A file that is written in place. Growth beyond what it was charged for is charged.
#[derive(Clone, Copy, Debug)]
pub struct OpenFile {
    pub charged: i64,
    /// A scan has begun since: what it is charged for is what it is large now.
    pub stale: bool,
}

/// A write in place that is charged and not on the disk yet.
#[derive(Debug)]
pub struct Writing {
    pub inode: u64,
    pub to: i64,
    pub charge: Upload,
    pub begun_before: LogIndex,
}

#[derive(Debug)]
pub enum Carried {
    Grant { upload: u64, need: Amount },
    Parcel { parcel: AccountSettlement, answer: Option<LogIndex>, confirm: Option<LogIndex> },
    Word,
    Close,
}

/// A command on its way; repeated under its number until answered.
#[derive(Debug)]
pub struct Flight {
    pub number: u64,
    pub command: Command,
    pub carried: Carried,
    /// It was applied, whether its answer came or not.
    pub applied: bool,
}

#[derive(Debug)]
pub struct Process {
    pub node: NodeId,
    pub epoch: Epoch,
    pub session: Option<SessionId>,
    pub since: LogIndex,
    pub account: AccountId,
    /// The state that the node has applied.
    pub view: State,
    pub limited: bool,
    pub pots: BTreeMap<Limits, (Amount, LogIndex)>,
    pub uploads: Vec<Upload>,
    pub spent: BTreeMap<Limits, Amount>,
    pub returning: BTreeMap<Limits, Amount>,
    pub reported: Amount,
    pub credits: Vec<CreditItem>,
    pub caught: Vec<Caught>,
    pub open: BTreeMap<u64, OpenFile>,
    pub writing: Vec<Writing>,
    /// Removed files that are open here still: unlinked, and on the disk.
    pub held: Vec<Caught>,
    /// Renames and shrinks that are on the disk and not over yet.
    pub moving: u64,
    pub shrinking: u64,
    pub moved: bool,
    pub shrunk: bool,
    /// The live scan that it has confirmed last, and the one that it has reported on.
    pub scan_confirmed: LogIndex,
    pub scan_reported: LogIndex,
    pub seen: Vec<u64>,
    pub taken: BTreeSet<u64>,
    pub total: Amount,
    pub answered: LogIndex,
    pub confirmed: LogIndex,
    pub flights: Vec<Flight>,
    pub next_number: u64,
    pub next_upload: u64,
}

impl Process {
    pub fn new(node: NodeId, epoch: Epoch, account: AccountId, view: State) -> Self {
        Process {
            node,
            epoch,
            session: None,
            since: 0,
            account,
            view,
            limited: false,
            pots: BTreeMap::new(),
            uploads: Vec::new(),
            spent: BTreeMap::new(),
            returning: BTreeMap::new(),
            reported: Amount::ZERO,
            credits: Vec::new(),
            caught: Vec::new(),
            open: BTreeMap::new(),
            writing: Vec::new(),
            held: Vec::new(),
            moving: 0,
            shrinking: 0,
            moved: false,
            shrunk: false,
            scan_confirmed: 0,
            scan_reported: 0,
            seen: Vec::new(),
            taken: BTreeSet::new(),
            total: Amount::ZERO,
            answered: 0,
            confirmed: 0,
            flights: Vec::new(),
            next_number: 1,
            next_upload: 1,
        }
    }

    /// Inode of an upload, from its first byte on.
    pub fn inode_of(&self, upload: u64) -> u64 {
        (self.epoch.0 << 32) + upload
    }

    pub fn row(&self) -> Account {
        Account::clone(self.view.account(self.account).unwrap())
    }

    pub fn staged(&self) -> Amount {
        self.uploads.iter().map(|upload| Amount::new(upload.written, i64::from(upload.written > 0))).sum()
    }

    pub fn is_carrying(&self) -> bool {
        self.flights.iter().any(|flight| matches!(flight.carried, Carried::Parcel { .. }))
    }
    pub fn is_asking(&self) -> bool {
        self.flights.iter().any(|flight| matches!(flight.carried, Carried::Grant { .. }))
    }
    pub fn is_dirty(&self) -> bool {
        !self.spent.is_empty()
            || !self.returning.is_empty()
            || !self.reported.is_zero()
            || !self.credits.is_empty()
            || !self.seen.is_empty()
            || self.moved
            || self.shrunk
    }
    /// What lies in staging and is counted; what is stored, or may be, and not settled; credits that are not settled, and what may not be.
    pub fn unsettled(&self) -> [Amount; 3] {
        let taken = self.caught.iter().chain(&self.held).map(|file| Amount::new(file.size, 1)).sum();
        let mut spent: Amount = self.reported + self.spent.values().copied().sum();
        let mut credits: Amount = self.credits.iter().map(|credit| credit.amount).sum();
        for flight in self.flights.iter().filter(|flight| !flight.applied) {
            if let Carried::Parcel { parcel, .. } = &flight.carried {
                spent += parcel.reported + parcel.spent.iter().map(|part| part.1).sum();
                credits += parcel.credits.iter().map(|credit| credit.amount).sum();
            }
        }
        // A write that was charged for nothing may land before the one that was charged for it.
        let writing = self.writing.iter().map(|writing| writing.charge.room()).sum();
        // What was made shorter is counted until its mark is heard.
        let shorter = if self.shrinking > 0 || self.shrunk { Amount::new(1 << 40, 0) } else { Amount::ZERO };
        [taken, spent + writing, credits + writing + shorter]
    }
    pub fn unspent(&self) -> Amount {
        self.pots.values().map(|pot| pot.0).sum()
    }

    pub fn id(&self, number: u64) -> CommandId {
        let answered_below = self.flights.iter().map(|flight| flight.number).min().unwrap_or(number);
        CommandId::Node { node: self.node, epoch: self.epoch, number, answered_below }
    }

    pub fn send(&mut self, command: Command, carried: Carried) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.flights.push(Flight { number, command, carried, applied: false });
        number
    }

    /// Charges what can be charged here.
    pub fn spend(&mut self, upload: usize, limits: Limits, want: Amount) -> bool {
        if !self.limited {
            *self.uploads[upload].held.entry(None).or_default() += want;
            return true;
        }
        let usable: Amount = self.pots.iter().filter(|(tag, _)| limits.may_spend(**tag)).map(|(_, pot)| pot.0).sum();
        if !want.fits(usable) {
            return false;
        }
        let mut left = want;
        let (node, number) = (self.node, self.uploads[upload].number);
        for (tag, pot) in self.pots.iter_mut().filter(|(tag, _)| limits.may_spend(**tag)) {
            let part = left.min_each(pot.0).at_least_zero();
            if part.is_zero() {
                continue;
            }
            pot.0 -= part;
            left -= part;
            let upload = &mut self.uploads[upload];
            *upload.held.entry(Some(*tag)).or_default() += part;
            upload.order.get_or_insert(UploadOrder { grant: pot.1, node, number });
        }
        true
    }

    pub fn deliver(&mut self, upload: Option<u64>, need: Amount, limits: Limits, amount: Amount, index: LogIndex) {
        let mut rest = amount;
        let node = self.node;
        if let Some(upload) = upload.and_then(|number| self.uploads.iter_mut().find(|each| each.number == number)) {
            rest -= need;
            *upload.held.entry(Some(limits)).or_default() += need;
            upload.order.get_or_insert(UploadOrder { grant: index, node, number: upload.number });
        }
        let pot = self.pots.entry(limits).or_default();
        pot.0 += rest;
        pot.1 = index;
    }

    /// Frees what an upload holds: to the log if the account is short, else into the pots.
    pub fn free(&mut self, upload: &Upload) {
        let short = self.row().has_waiting() || matches!(upload.stage, UploadStage::Failed(Some(_)));
        for (tag, held) in &upload.held {
            let Some(limits) = tag else { continue };
            if short {
                *self.returning.entry(*limits).or_default() += *held;
            } else {
                self.pots.entry(*limits).or_default().0 += *held;
            }
        }
        if let UploadStage::Failed(Some(ask)) = upload.stage {
            self.seen.push(ask);
        }
    }

    pub fn publish(&mut self, upload: &Upload) {
        for (tag, held) in &upload.held {
            self.total += *held;
            match tag {
                Some(limits) => *self.spent.entry(*limits).or_default() += *held,
                None => self.reported += *held,
            }
        }
    }

    pub fn pack(&mut self, all: bool) -> AccountSettlement {
        let mut returned = std::mem::take(&mut self.returning);
        if all {
            for (limits, pot) in &mut self.pots {
                *returned.entry(*limits).or_default() += std::mem::take(&mut pot.0);
            }
        }
        let credits = std::mem::take(&mut self.credits);
        AccountSettlement {
            account: self.account,
            since: self.since,
            spent: std::mem::take(&mut self.spent).into_iter().collect(),
            returned: returned.into_iter().filter(|(_, amount)| !amount.is_zero()).collect(),
            reported: std::mem::take(&mut self.reported),
            settled_through: self.view.applied_index(),
            credits,
            mark: self.shrunk,
            disturbed: std::mem::take(&mut self.moved) | std::mem::take(&mut self.shrunk),
            seen: std::mem::take(&mut self.seen),
        }
    }

    pub fn unpack(&mut self, parcel: AccountSettlement) {
        for (limits, amount) in parcel.spent {
            *self.spent.entry(limits).or_default() += amount;
        }
        for (limits, amount) in parcel.returned {
            *self.returning.entry(limits).or_default() += amount;
        }
        self.reported += parcel.reported;
        self.credits.extend(parcel.credits);
        self.shrunk |= parcel.disturbed;
        self.seen.extend(parcel.seen);
    }

    pub fn open_uploads(&self) -> Vec<OpenUpload> {
        let shown = |upload: &Upload| {
            let (order, room) = (upload.order?, upload.room());
            let failed = matches!(upload.stage, UploadStage::Failed(_));
            room.is_positive().then_some(OpenUpload { order, room, failed })
        };
        self.uploads.iter().filter_map(shown).collect()
    }

    /// Takes outcomes of waits from the view.
    pub fn take_outcomes(&mut self) -> (u64, u64) {
        let (mut granted, mut refused) = (0, 0);
        let row = self.row();
        let (node, epoch) = (self.node, self.epoch);
        self.taken.retain(|number| row.waiters.contains_key(&WaiterId { node, epoch, number: *number }));
        for (id, waiter) in row.waiters.iter().filter(|(id, _)| (id.node, id.epoch) == (node, epoch)) {
            if waiter.state == WaiterState::Waiting || !self.taken.insert(id.number) {
                continue;
            }
            let waits = |upload: &&mut Upload| {
                [UploadStage::Asked(id.number), UploadStage::Waits(id.number)].contains(&upload.stage)
            };
            let upload = self.uploads.iter_mut().find(waits);
            match &waiter.state {
                WaiterState::Granted { index, limits } => {
                    let number = upload.map(|upload| {
                        upload.stage = UploadStage::Running;
                        upload.written += upload.chunk;
                        upload.number
                    });
                    self.deliver(number, waiter.need, *limits, waiter.need, *index);
                    self.seen.push(id.number);
                    granted += 1;
                }
                WaiterState::Refused(_) => {
                    refused += 1;
                    match upload {
                        Some(upload) => upload.stage = UploadStage::Failed(Some(id.number)),
                        None => self.seen.push(id.number),
                    }
                }
                WaiterState::Waiting => {}
            }
        }
        (granted, refused)
    }
}
