//! A process that writes a log store and says what was acknowledged, to be killed, and the check of what it left.
//!
//! The process is this test binary again, told by the environment what to do. Each line that it says stands for a promise:
//! `A first last term` entries, `V term` a vote, `T index` a truncation is about to happen, `P index` a purge is.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use flotilla_raft::StoreChoice;
use flotilla_raft::testing::{LogId, LogStore, Payload, RaftEntry, Space, Vote};
use openraft::EntryPayload;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};
use openraft::vote::RaftLeaderId;

pub const ENGINES: [StoreChoice; 2] = [StoreChoice::Sled, StoreChoice::Redb];
const TASK: &str = "FLOTILLA_WRITER";
/// Small, so that the log moves into new files all the time.
const SPACE: Space = Space { floor: 512 << 10, factor: 2 };

/// Runs this binary as a writer: `turns` turns (0: without end), then it kills itself.
pub fn command(
    program: impl AsRef<std::ffi::OsStr>,
    engine: StoreChoice,
    dir: &Path,
    seed: u64,
    turns: u64,
) -> Command {
    let mut command = Command::new(program);
    let redb = u8::from(engine == StoreChoice::Redb);
    command.env(TASK, format!("{seed} {turns} {redb} {}", dir.display()));
    command
}

/// The arguments that make this binary run nothing but the writer.
pub const ARGUMENTS: [&str; 3] = ["--exact", "writer::process", "--nocapture"];

/// The writer process. Without its task in the environment this is an ordinary test: the writer's promises hold undisturbed.
#[tokio::test]
async fn process() {
    let Ok(task) = std::env::var(TASK) else {
        for engine in ENGINES {
            let dir = tempfile::tempdir().expect("a temporary folder");
            let mut said = Vec::new();
            write(engine, &dir.path().join("log"), 1, 60, |line| said.push(line)).await;
            let mut promises = Promises::of(engine);
            said.iter().for_each(|line| promises.hear(line));
            promises.check(&dir.path().join("log")).await.expect("all that was acknowledged");
        }
        return;
    };
    let mut parts = task.splitn(4, ' ');
    let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok()).expect("a number");
    let (seed, turns) = (number(), number());
    let engine = if number() == 1 { StoreChoice::Redb } else { StoreChoice::Sled };
    let dir = parts.next().expect("a folder").to_owned();
    let turns = if turns == 0 { u64::MAX } else { turns };
    write(engine, Path::new(&dir), seed, turns, |line| println!("{line}")).await;
    let me = rustix::process::getpid();
    rustix::process::kill_process(me, rustix::process::Signal::KILL).expect("killing itself");
}

/// xorshift64*: the same seed writes the same.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

fn log_id(term: u64, index: u64) -> LogId {
    let leader = openraft::impls::leader_id_std::LeaderId::<u64, u64>::new(term, 1);
    LogId { leader_id: leader.to_committed(), index }
}

/// Its content follows from term and index: mostly small, now and then many chunks.
fn entry(term: u64, index: u64) -> RaftEntry {
    let mut dice = Dice::new(term << 32 | index);
    let size = if dice.below(16) == 0 { 20_000 } else { 300 };
    let bytes: Vec<u8> = (0..dice.below(size)).map(|at| (at * (index + term)) as u8).collect();
    RaftEntry { log_id: log_id(term, index), payload: EntryPayload::Normal(Payload(Bytes::from(bytes))) }
}

/// Opens the store; a process that was just killed may still hold it.
async fn open(engine: StoreChoice, dir: &Path) -> Result<LogStore, String> {
    for _ in 0..200 {
        let opened = match engine {
            StoreChoice::Sled => LogStore::open_sled_within(dir, (), SPACE),
            StoreChoice::Redb => LogStore::open_redb(dir, ()),
        };
        match opened {
            Err(error) if error.to_string().contains("lock") => {}
            other => return other.map_err(|error| error.to_string()),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Err("the store stays locked".to_owned())
}

async fn write(engine: StoreChoice, dir: &Path, seed: u64, turns: u64, mut say: impl FnMut(String)) {
    let mut store = open(engine, dir).await.expect("the store opens");
    let mut dice = Dice::new(seed);
    let state = store.get_log_state().await.expect("its state");
    let mut purged = state.last_purged_log_id.map_or(0, |id| id.index);
    let mut last = state.last_log_id.map_or(0, |id| id.index);
    let mut term = store.read_vote().await.expect("its vote").map_or(0, |vote: Vote| vote.leader_id.term);
    let mut new_term = true;
    for _ in 0..turns {
        if new_term {
            term += 1;
            store.save_vote(&Vote::new(term, 1)).await.expect("the vote");
            say(format!("V {term}"));
            new_term = false;
        }
        match dice.below(16) {
            0 if last > purged + 8 => {
                last -= dice.below(6);
                say(format!("T {last}"));
                let id = store.try_get_log_entries(last..=last).await.expect("reading").first().map(|one| one.log_id);
                store.truncate_after(id).await.expect("the truncation");
                new_term = true;
            }
            1 | 2 if last > purged + 40 => {
                let to = last - 20 - dice.below(20);
                say(format!("P {to}"));
                let id = store.try_get_log_entries(to..=to).await.expect("reading")[0].log_id;
                store.purge(id).await.expect("the purge");
                purged = to;
            }
            _ => {
                let (first, half) = (last + 1, last + 1 + dice.below(8));
                last = half + dice.below(8);
                let mut other = store.clone();
                let lower = store.blocking_append((first..=half).map(|index| entry(term, index)));
                let upper = other.blocking_append((half + 1..=last).map(|index| entry(term, index)));
                let (lower, upper) = futures::join!(lower, upper);
                lower.and(upper).expect("the entries");
                say(format!("A {first} {last} {term}"));
            }
        }
    }
}

/// Numbers of the stores `sled.N` in the folder of a log, lowest first. More than one: the log is moving.
pub fn stores(dir: &Path) -> Vec<u64> {
    let Ok(found) = std::fs::read_dir(dir) else { return Vec::new() };
    let names = found.filter_map(|found| Some(found.ok()?.file_name().to_string_lossy().into_owned()));
    let mut numbers: Vec<u64> = names.filter_map(|name| name.strip_prefix("sled.")?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// What a writer has acknowledged, as far as it must still be there.
#[derive(Clone, Default)]
pub struct Promises {
    engine: StoreChoice,
    term: u64,
    /// Term of each entry that must be there.
    entries: BTreeMap<u64, u64>,
    /// Entries up to here may be gone.
    purging: u64,
}

impl Promises {
    pub fn of(engine: StoreChoice) -> Self {
        Promises { engine, ..Promises::default() }
    }

    pub fn hear(&mut self, line: &str) {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default().to_owned();
        let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
        match (kind.as_str(), numbers.as_slice()) {
            ("A", &[first, last, term]) => self.entries.extend((first..=last).map(|index| (index, term))),
            ("V", &[term]) => self.term = term,
            ("T", &[index]) => drop(self.entries.split_off(&(index + 1))),
            ("P", &[index]) => self.purging = index,
            // The test harness says things, too.
            _ => {}
        }
    }

    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Opens the store and compares.
    pub async fn check(&self, dir: &Path) -> Result<(), String> {
        let mut store = open(self.engine, dir).await?;
        let found_vote = store.read_vote().await.map_err(|error| error.to_string())?;
        let found_term = found_vote.map_or(0, |vote| vote.leader_id.term);
        if found_term < self.term {
            return Err(format!("the vote of term {} was acknowledged, {found_term} is there", self.term));
        }
        let state = store.get_log_state().await.map_err(|error| error.to_string())?;
        let purged = state.last_purged_log_id.map_or(0, |id| id.index);
        if purged > self.purging {
            return Err(format!("purged to {purged}, asked to {}", self.purging));
        }
        let found = store.try_get_log_entries(0..u64::MAX).await.map_err(|error| error.to_string())?;
        let found: BTreeMap<u64, RaftEntry> = found.into_iter().map(|entry| (entry.log_id.index, entry)).collect();
        for (index, one) in &found {
            if *one != entry(one.log_id.leader_id.term, *index) {
                return Err(format!("entry {index} has another content than was written"));
            }
        }
        for (index, term) in self.entries.range(purged + 1..) {
            let there = found.get(index).map(|entry| entry.log_id.leader_id.term);
            if there != Some(*term) {
                return Err(format!("entry {index} of term {term} was acknowledged, there is {there:?}"));
            }
        }
        Ok(())
    }
}
