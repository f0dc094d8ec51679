//! What of a disk is durable: the journal of names, synced contents, and what a cut makes of both.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::time::{Duration, SystemTime};

use rand::RngExt;
use rand::rngs::StdRng;

use super::{Body, Done, Entries, Error, Ino, Lost, Node, PAGE, ROOT};

/// A change of a folder.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Put { folder: Ino, name: OsString, ino: Ino },
    Take { folder: Ino, name: OsString },
    Move { from: (Ino, OsString), to: (Ino, OsString), swap: bool },
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) nodes: BTreeMap<Ino, Node>,
    pub(super) last: Ino,
    /// Folders as a cut is sure to leave them.
    pub(super) durable: BTreeMap<Ino, Entries>,
    /// How many names lead to each.
    pub(super) links: BTreeMap<Ino, u32>,
    pub(super) journal: Vec<Change>,
    /// So many syncs from now on fail.
    pub(super) failing: u32,
    /// How often the kernel holds each.
    pub(super) held: BTreeMap<Ino, u64>,
    pub(super) slow: Duration,
    pub(super) full: bool,
    pub(super) syncs: u64,
}

impl Change {
    /// Without it a cut could not bring back what the journal still names.
    pub(super) fn names(&self, ino: Ino) -> bool {
        matches!(self, Change::Put { ino: put, .. } if *put == ino)
    }

    pub(super) fn touches(&self, ino: Ino) -> bool {
        match self {
            Change::Put { folder, .. } | Change::Take { folder, .. } => *folder == ino,
            Change::Move { from, to, .. } => from.0 == ino || to.0 == ino,
        }
    }

    fn apply(&self, folders: &mut impl Folders) {
        match self {
            Change::Put { folder, name, ino } => {
                if let Some(entries) = folders.entries(*folder) {
                    entries.insert(name.clone(), *ino);
                }
            }
            Change::Take { folder, name } => {
                if let Some(entries) = folders.entries(*folder) {
                    entries.remove(name);
                }
            }
            Change::Move { from, to, swap } => {
                let Some(moved) = folders.entries(from.0).and_then(|entries| entries.remove(&from.1)) else { return };
                let replaced = folders.entries(to.0).and_then(|entries| entries.insert(to.1.clone(), moved));
                if let (true, Some(other), Some(entries)) = (*swap, replaced, folders.entries(from.0)) {
                    entries.insert(from.1.clone(), other);
                }
            }
        }
    }
}

/// Folders that a change is made in: those that everybody sees, or the durable ones.
trait Folders {
    fn entries(&mut self, folder: Ino) -> Option<&mut Entries>;
}

impl Folders for BTreeMap<Ino, Entries> {
    fn entries(&mut self, folder: Ino) -> Option<&mut Entries> {
        self.get_mut(&folder)
    }
}

impl Folders for BTreeMap<Ino, Node> {
    fn entries(&mut self, folder: Ino) -> Option<&mut Entries> {
        let node = self.get_mut(&folder)?;
        node.changed = SystemTime::now();
        match &mut node.body {
            Body::Folder(entries) => Some(entries),
            _ => None,
        }
    }
}

impl Inner {
    /// The power is cut, and is there again.
    pub(super) fn cut(&mut self, random: &mut StdRng) -> Lost {
        let mut lost = Lost::default();
        let kept = random.random_range(0..=self.journal.len());
        lost.names = (self.journal.len() - kept) as u64;
        self.commit(kept);
        self.journal.clear();
        for node in self.nodes.values_mut() {
            if let Body::File { bytes, synced, dirty } = &mut node.body {
                lost.pages += forget(bytes, synced, std::mem::take(dirty), random);
            }
        }
        self.read_folders_anew();
        self.failing = 0;
        lost
    }

    pub(super) fn node(&self, ino: Ino) -> Done<&Node> {
        self.nodes.get(&ino).ok_or(Error::Missing)
    }
    pub(super) fn node_mut(&mut self, ino: Ino) -> Done<&mut Node> {
        self.nodes.get_mut(&ino).ok_or(Error::Missing)
    }
    pub(super) fn folder(&self, ino: Ino) -> Done<&Entries> {
        match &self.node(ino)?.body {
            Body::Folder(entries) => Ok(entries),
            _ => Err(Error::NotFolder),
        }
    }

    /// Makes a change that everybody sees from now on.
    pub(super) fn change(&mut self, change: Change) -> Done<()> {
        match &change {
            Change::Put { ino, .. } => *self.links.entry(*ino).or_default() += 1,
            Change::Take { folder, name } => self.unlinked(*folder, name),
            Change::Move { to, swap: false, .. } => self.unlinked(to.0, &to.1),
            Change::Move { .. } => {}
        }
        change.apply(&mut self.nodes);
        self.journal.push(change);
        Ok(())
    }

    /// The name will lead to nothing, or to something else.
    fn unlinked(&mut self, folder: Ino, name: &OsStr) {
        let ino = self.folder(folder).ok().and_then(|entries| entries.get(name)).copied();
        if let Some(links) = ino.and_then(|ino| self.links.get_mut(&ino)) {
            *links -= 1;
        }
    }

    /// The first changes of the journal are durable.
    pub(super) fn commit(&mut self, changes: usize) {
        for change in self.journal.drain(..changes) {
            change.apply(&mut self.durable);
        }
    }

    pub(super) fn sync_file(&mut self, ino: Ino) {
        let Some(Node { body: Body::File { bytes, synced, dirty }, .. }) = self.nodes.get_mut(&ino) else { return };
        synced.resize(bytes.len(), 0);
        for page in std::mem::take(dirty) {
            let (from, to) = (page * PAGE, ((page + 1) * PAGE).min(bytes.len()));
            if from < to {
                synced[from..to].copy_from_slice(&bytes[from..to]);
            }
        }
    }

    /// Folders as they are durable; what nobody names any more is gone.
    fn read_folders_anew(&mut self) {
        let (mut named, mut next) = (BTreeSet::from([ROOT]), vec![ROOT]);
        while let Some(folder) = next.pop() {
            for ino in self.durable.get(&folder).into_iter().flat_map(BTreeMap::values) {
                if named.insert(*ino) && self.durable.contains_key(ino) {
                    next.push(*ino);
                }
            }
        }
        self.nodes.retain(|ino, _| named.contains(ino));
        self.durable.retain(|ino, _| named.contains(ino));
        self.links.clear();
        for ino in self.durable.values().flat_map(BTreeMap::values) {
            *self.links.entry(*ino).or_default() += 1;
        }
        for (ino, entries) in &self.durable {
            if let Some(node) = self.nodes.get_mut(ino) {
                node.body = Body::Folder(entries.clone());
            }
        }
    }
}

/// A file after a cut: what was synced, and any of the pages and the size since. How many pages were lost.
fn forget(bytes: &mut Vec<u8>, synced: &mut Vec<u8>, dirty: BTreeSet<usize>, random: &mut StdRng) -> u64 {
    let mut left = synced.clone();
    if left.len() != bytes.len() && random.random_bool(0.5) {
        left.resize(bytes.len(), 0);
    }
    let mut lost = 0;
    for page in dirty {
        let (from, to) = (page * PAGE, ((page + 1) * PAGE).min(left.len()).min(bytes.len()));
        if from < to && random.random_bool(0.5) {
            left[from..to].copy_from_slice(&bytes[from..to]);
        } else {
            lost += 1;
        }
    }
    synced.clone_from(&left);
    *bytes = left;
    lost
}
