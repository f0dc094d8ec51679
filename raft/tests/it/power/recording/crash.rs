//! Every point at which a recording can be cut, and the disks that a power cut there may leave: any subset of what was not
//! synced, and of the last changes of names any beginning. All of them where they are few, else the telling ones and a seeded choice.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::{Act, Recording, put, torn};
use crate::writer::Dice;

/// Disks looked at per point at most.
pub const PER_POINT: usize = 48;

/// Syncs taken for not made: what the enumerator must notice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    pub fdatasync: bool,
    pub fsync: bool,
    pub folders: bool,
}

/// A disk after a power cut: paths with contents.
#[derive(Clone)]
pub struct Disk {
    /// The recording was cut behind this line.
    pub line: usize,
    pub what: String,
    pub files: BTreeMap<String, Arc<Vec<u8>>>,
}

/// What was enumerated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub points: usize,
    /// Points of which every disk was looked at.
    pub whole: usize,
    /// Most changes of contents that were not synced at one point.
    pub most_pending: usize,
    pub disks: usize,
    /// Disks that were looked at before, with the same promises.
    pub repeated: usize,
}

/// A change of a file's content that is not synced yet.
struct Pending<'a> {
    step: usize,
    file: usize,
    ended: bool,
    act: &'a Act,
}

/// The disk at a point: what is durable and what may be.
#[derive(Default)]
struct Point<'a> {
    contents: BTreeMap<usize, Arc<Vec<u8>>>,
    /// By file: the changes in its content, in a number.
    versions: BTreeMap<usize, u64>,
    pending: Vec<Pending<'a>>,
    names: BTreeMap<String, usize>,
    /// Changes of names since the last sync of a folder, in order: the journal keeps a beginning of them.
    renames: Vec<(usize, &'a Act)>,
    /// By sync under way: what it makes durable once it returns.
    covers: BTreeMap<usize, BTreeSet<usize>>,
}

/// One choice among what a power cut may leave.
enum Choice {
    /// These of the pending changes, by place.
    These(Vec<bool>),
    /// Each there, gone or torn.
    Torn(u64),
}

impl Recording {
    /// Calls `look` with each disk; stops at the first that it does not like and returns why.
    pub fn enumerate<E>(
        &self,
        ignored: Ignored,
        seed: u64,
        mut look: impl FnMut(Disk) -> Result<(), E>,
    ) -> (Count, Result<(), E>) {
        let mut events: Vec<(usize, bool, usize)> = Vec::new();
        for (number, step) in self.steps.iter().enumerate() {
            events.push((step.began, false, number));
            if step.ended <= self.lines {
                events.push((step.ended, true, number));
            }
        }
        events.sort_unstable();
        let (mut point, mut count, mut dice) = (Point::default(), Count::default(), Dice::new(seed));
        let mut seen: HashSet<u64> = HashSet::new();
        let mut promises = 0;
        for (line, ends, number) in events {
            let step = &self.steps[number];
            if ends {
                point.ended(number, &step.act)
            } else {
                point.began(number, &step.act, ignored)
            }
            promises += usize::from(!ends && matches!(step.act, Act::Said(_)));
            count.points += 1;
            count.most_pending = count.most_pending.max(point.pending.len());
            let (choices, all) = point.choices(&mut dice);
            count.whole += usize::from(all);
            for (names, choice) in choices {
                if !seen.insert(point.key(promises, names, &choice)) {
                    count.repeated += 1;
                    continue;
                }
                count.disks += 1;
                if let Err(why) = look(point.disk(line, names, &choice)) {
                    return (count, Err(why));
                }
            }
        }
        (count, Ok(()))
    }
}

impl<'a> Point<'a> {
    fn began(&mut self, number: usize, act: &'a Act, ignored: Ignored) {
        match act {
            Act::Wrote { file, .. } | Act::Cut { file, .. } => {
                self.pending.push(Pending { step: number, file: *file, ended: false, act });
            }
            Act::Made { .. } | Act::Renamed { .. } | Act::Removed { .. } => self.renames.push((number, act)),
            Act::Synced { file, data_only } => {
                let counts = if *data_only { !ignored.fdatasync } else { !ignored.fsync };
                let covered = self.pending.iter().filter(|change| change.file == *file && change.ended);
                if counts {
                    self.covers.insert(number, covered.map(|change| change.step).collect());
                }
            }
            Act::FolderSynced => {
                if !ignored.folders {
                    self.covers.insert(number, self.renames.iter().map(|(step, _)| *step).collect());
                }
            }
            Act::Said(_) => {}
        }
    }

    fn ended(&mut self, number: usize, act: &Act) {
        match act {
            Act::Wrote { .. } | Act::Cut { .. } => {
                if let Some(change) = self.pending.iter_mut().find(|change| change.step == number) {
                    change.ended = true;
                }
            }
            Act::Synced { .. } => {
                let covered = self.covers.remove(&number).unwrap_or_default();
                let (durable, pending): (Vec<_>, _) =
                    std::mem::take(&mut self.pending).into_iter().partition(|change| covered.contains(&change.step));
                self.pending = pending;
                for change in &durable {
                    let version = self.versions.entry(change.file).or_default();
                    *version = hash(&(*version, change.step));
                    apply(&mut self.contents, change, None);
                }
            }
            Act::FolderSynced => {
                let covered = self.covers.remove(&number).unwrap_or_default();
                let (durable, pending): (Vec<_>, _) =
                    std::mem::take(&mut self.renames).into_iter().partition(|(step, _)| covered.contains(step));
                self.renames = pending;
                durable.iter().for_each(|(_, act)| rename(&mut self.names, act));
            }
            _ => {}
        }
    }

    /// What a power cut here may leave: how many changes of names, which changes of contents. Whether that is all.
    fn choices(&self, dice: &mut Dice) -> (Vec<(usize, Choice)>, bool) {
        let (changes, names) = (self.pending.len(), self.renames.len());
        let of = |bits: u64| Choice::These((0..changes).map(|at| bits >> at & 1 == 1).collect());
        if changes < 16 && (names + 1) << changes <= PER_POINT {
            let all = (0..=names).flat_map(|names| (0..1 << changes).map(move |bits| (names, of(bits)))).collect();
            return (all, true);
        }
        let without = |but: usize| Choice::These((0..changes).map(|at| at != but).collect());
        let before = |end: usize| Choice::These((0..changes).map(|at| at < end).collect());
        let mut chosen = vec![(0, before(0)), (names, before(0)), (0, before(changes)), (names, before(changes))];
        let spread = |most: usize| (0..changes).step_by((changes / most).max(1)).take(most);
        chosen.extend(spread(8).map(|at| (names, without(at))));
        chosen.extend(spread(8).map(|at| (names, before(at))));
        while chosen.len() < PER_POINT {
            let names = dice.below(names as u64 + 1) as usize;
            chosen.push((names, Choice::Torn(1 + dice.below(1 << 30))));
        }
        (chosen, false)
    }

    fn names(&self, names: usize) -> BTreeMap<String, usize> {
        let mut kept = self.names.clone();
        self.renames[..names].iter().for_each(|(_, act)| rename(&mut kept, act));
        kept
    }

    /// The same for two disks that were made by the same changes, with the same promises.
    fn key(&self, promises: usize, names: usize, choice: &Choice) -> u64 {
        let applied: Vec<usize> = match choice {
            Choice::These(there) => {
                self.pending.iter().zip(there).filter(|(_, there)| **there).map(|(change, _)| change.step).collect()
            }
            Choice::Torn(_) => self.pending.iter().map(|change| change.step).collect(),
        };
        let seed = if let Choice::Torn(seed) = choice { *seed } else { 0 };
        hash(&(promises, self.names(names), &self.versions, applied, seed))
    }

    fn disk(&self, line: usize, names: usize, choice: &Choice) -> Disk {
        let mut contents = self.contents.clone();
        let mut dice = Dice::new(if let Choice::Torn(seed) = choice { *seed } else { 0 });
        for (at, change) in self.pending.iter().enumerate() {
            match choice {
                Choice::These(there) if there[at] => apply(&mut contents, change, None),
                Choice::These(_) => {}
                Choice::Torn(_) => match dice.below(3) {
                    0 => {}
                    1 => apply(&mut contents, change, None),
                    _ => apply(&mut contents, change, Some(&mut dice)),
                },
            }
        }
        let which = match choice {
            Choice::These(there) => there.iter().map(|there| if *there { '1' } else { '0' }).collect(),
            Choice::Torn(seed) => format!("torn by {seed}"),
        };
        let what = format!("{names} of {} changes of names, writes {which}", self.renames.len());
        let empty = Arc::new(Vec::new());
        let files =
            self.names(names).into_iter().map(|(path, file)| (path, contents.get(&file).unwrap_or(&empty).clone()));
        Disk { line, what, files: files.collect() }
    }
}

fn apply(contents: &mut BTreeMap<usize, Arc<Vec<u8>>>, change: &Pending<'_>, tear: Option<&mut Dice>) {
    let content = Arc::make_mut(contents.entry(change.file).or_default());
    match (change.act, tear) {
        (Act::Wrote { at, bytes, .. }, None) => put(content, *at, bytes),
        (Act::Wrote { at, bytes, .. }, Some(dice)) => torn(content, *at, bytes, dice),
        (Act::Cut { length, .. }, _) => content.resize(*length, 0),
        _ => {}
    }
}

fn rename(names: &mut BTreeMap<String, usize>, act: &Act) {
    match act {
        Act::Made { path, file } => drop(names.insert(path.clone(), *file)),
        Act::Renamed { from, to } => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        Act::Removed { path } => drop(names.remove(path)),
        _ => {}
    }
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}
