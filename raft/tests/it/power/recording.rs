//! What a process wrote and synced, as strace saw it, and the disks that a power cut at any moment may leave.

pub mod crash;

use std::collections::BTreeMap;
use std::path::Path;

use crate::writer::Dice;

/// Sector size: what is torn, is torn at its borders.
const SECTOR: usize = 512;
pub const CALLS: &str =
    "openat,write,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir";

#[derive(Debug)]
enum Act {
    Made { path: String, file: usize },
    Renamed { from: String, to: String },
    Removed { path: String },
    Wrote { file: usize, at: usize, bytes: Vec<u8> },
    Cut { file: usize, length: usize },
    Synced { file: usize, data_only: bool },
    FolderSynced,
    Said(String),
}

/// A call: the line at which it began, the line at which it had returned.
#[derive(Debug)]
struct Step {
    began: usize,
    ended: usize,
    act: Act,
}

/// One or more processes after each other on one folder.
#[derive(Default)]
pub struct Recording {
    root: String,
    steps: Vec<Step>,
    lines: usize,
    files: usize,
    names: BTreeMap<String, usize>,
    /// How far `write` has come in each file.
    written: BTreeMap<usize, usize>,
}

/// What a power cut does to what was not synced.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// All of it is gone.
    Lost,
    /// Each write is there, gone or torn, by chance, and the last changes of names may be gone.
    Chance(u64),
}

impl Recording {
    pub fn of(root: &Path) -> Self {
        Recording { root: root.display().to_string(), ..Recording::default() }
    }

    /// Adds the trace of the next process.
    pub fn add(&mut self, trace: &str) {
        let mut open: BTreeMap<&str, usize> = BTreeMap::new();
        for line in trace.lines() {
            self.lines += 1;
            let Some((process, call)) = line.split_once(' ') else { continue };
            let call = call.trim_start();
            if call.starts_with("<...") {
                if let Some(step) = open.remove(process) {
                    self.steps[step].ended = self.lines;
                }
                continue;
            }
            let unfinished = call.ends_with("<unfinished ...>");
            if !unfinished && (call.contains(") = -1") || !call.contains(") = ")) {
                continue;
            }
            if let Some(act) = self.acts(call) {
                let ended = if unfinished { usize::MAX } else { self.lines };
                if unfinished {
                    open.insert(process, self.steps.len());
                }
                self.steps.push(Step { began: self.lines, ended, act });
            }
        }
    }

    fn acts(&mut self, call: &str) -> Option<Act> {
        let (name, arguments) = call.split_once('(')?;
        let paths: Vec<String> = strings(arguments, '"', '"').iter().map(|bytes| text(bytes)).collect();
        let within = |path: &String| path.starts_with(&self.root);
        match name {
            "write" | "pwrite64" => self.wrote(name, arguments),
            "openat" if arguments.contains("O_CREAT") => {
                let path = paths.first().filter(|path| within(path))?.clone();
                if self.names.contains_key(&path) && !arguments.contains("O_TRUNC") {
                    return None;
                }
                self.files += 1;
                self.names.insert(path.clone(), self.files);
                Some(Act::Made { path, file: self.files })
            }
            "rename" | "renameat" | "renameat2" => {
                let [from, to] = paths.as_slice() else { return None };
                let file = self.names.remove(from)?;
                self.names.insert(to.clone(), file);
                Some(Act::Renamed { from: from.clone(), to: to.clone() })
            }
            "unlink" | "unlinkat" => {
                // Names given from an open folder: the folder stands before them.
                let folder = strings(arguments, '<', '>').first().map(|bytes| text(bytes));
                let path = paths.first()?;
                let path = if path.starts_with('/') { path.clone() } else { format!("{}/{path}", folder?) };
                self.names.remove(&path)?;
                Some(Act::Removed { path })
            }
            "ftruncate" => {
                let length = arguments.split(", ").nth(1)?.split(')').next()?.parse().ok()?;
                Some(Act::Cut { file: self.file_of(arguments)?, length })
            }
            "fsync" | "fdatasync" => match self.file_of(arguments) {
                Some(file) => Some(Act::Synced { file, data_only: name == "fdatasync" }),
                None => {
                    let path = text(strings(arguments, '<', '>').first()?);
                    within(&path).then_some(Act::FolderSynced)
                }
            },
            _ => None,
        }
    }

    fn file_of(&self, arguments: &str) -> Option<usize> {
        self.names.get(&text(strings(arguments, '<', '>').first()?)).copied()
    }

    fn wrote(&mut self, name: &str, arguments: &str) -> Option<Act> {
        let bytes = strings(arguments, '"', '"').into_iter().next()?;
        if arguments.starts_with("1<") {
            return Some(Act::Said(text(&bytes).trim_end().to_owned()));
        }
        let file = self.file_of(arguments)?;
        let at = if name == "pwrite64" {
            let rest = arguments.rsplit_once('"')?.1;
            rest.split(", ").nth(2)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?
        } else {
            *self.written.entry(file).or_default()
        };
        self.written.insert(file, at + bytes.len());
        Some(Act::Wrote { file, at, bytes })
    }

    pub fn root(&self) -> &str {
        &self.root
    }

    /// The lines at which something was promised or became durable: power cuts around them tell most.
    pub fn moments(&self) -> Vec<usize> {
        let telling = self.steps.iter().filter(|step| !matches!(step.act, Act::Wrote { .. }));
        let mut lines: Vec<usize> = telling.flat_map(|step| [step.began, step.ended]).collect();
        lines.retain(|line| *line <= self.lines);
        lines.sort_unstable();
        lines.dedup();
        lines
    }

    /// The lines at which the log had moved into a later store: it was marked as the log.
    pub fn moves(&self) -> Vec<usize> {
        let marked = |step: &&Step| match &step.act {
            Act::Made { path, .. } => path.ends_with("/COMPLETE") && !path.ends_with("/sled.1/COMPLETE"),
            _ => false,
        };
        self.steps.iter().filter(marked).map(|step| step.began).collect()
    }

    /// What was said up to a line.
    pub fn said(&self, line: usize) -> impl Iterator<Item = &str> {
        let steps = self.steps.iter().take_while(move |step| step.began <= line);
        steps.filter_map(|step| if let Act::Said(said) = &step.act { Some(said.as_str()) } else { None })
    }

    /// All that was said, with the lines.
    pub fn all_said(&self) -> std::iter::Peekable<impl Iterator<Item = (usize, &str)>> {
        let said = self.steps.iter().filter_map(|step| match &step.act {
            Act::Said(said) => Some((step.began, said.as_str())),
            _ => None,
        });
        said.peekable()
    }

    /// The files after a power cut at a line. `ignoring_fdatasync`: as if nobody had called it.
    pub fn disk(&self, line: usize, fate: Fate, ignoring_fdatasync: bool) -> BTreeMap<String, Vec<u8>> {
        let mut dice = Dice::new(if let Fate::Chance(seed) = fate { seed } else { 0 });
        let names = self.names_at(self.names_reach(line, fate, &mut dice));
        let contents = self.contents_at(line, fate, ignoring_fdatasync, &mut dice);
        names.into_iter().map(|(path, file)| (path, contents.get(&file).cloned().unwrap_or_default())).collect()
    }

    /// Names are journalled in order: some of the last changes may be missing, back to the last sync of a folder.
    fn names_reach(&self, line: usize, fate: Fate, dice: &mut Dice) -> usize {
        let Fate::Chance(_) = fate else { return line };
        let folder = |step: &&Step| matches!(step.act, Act::FolderSynced) && step.ended <= line;
        let synced = self.steps.iter().filter(folder).map(|step| step.began).max().unwrap_or(0);
        synced + dice.below((line - synced) as u64 + 1) as usize
    }

    fn names_at(&self, line: usize) -> BTreeMap<String, usize> {
        let mut names = BTreeMap::new();
        for step in self.steps.iter().filter(|step| step.began <= line) {
            match &step.act {
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
        names
    }

    fn contents_at(&self, line: usize, fate: Fate, ignoring: bool, dice: &mut Dice) -> BTreeMap<usize, Vec<u8>> {
        // Up to which line each file's writes are durable.
        let mut durable: BTreeMap<usize, usize> = BTreeMap::new();
        for step in self.steps.iter().filter(|step| step.ended <= line) {
            if let Act::Synced { file, data_only } = step.act
                && !(data_only && ignoring)
            {
                durable.insert(file, step.began.max(durable.get(&file).copied().unwrap_or(0)));
            }
        }
        let mut contents: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for step in self.steps.iter().filter(|step| step.began <= line) {
            let safe = |file: &usize| durable.get(file).is_some_and(|synced| step.ended < *synced);
            match &step.act {
                Act::Wrote { file, at, bytes } => {
                    let content = contents.entry(*file).or_default();
                    match fate {
                        _ if safe(file) => put(content, *at, bytes),
                        Fate::Lost => {}
                        Fate::Chance(_) => match dice.below(3) {
                            0 => {}
                            1 => put(content, *at, bytes),
                            _ => torn(content, *at, bytes, dice),
                        },
                    }
                }
                Act::Cut { file, length } if safe(file) => contents.entry(*file).or_default().resize(*length, 0),
                _ => {}
            }
        }
        contents
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    content.resize(content.len().max(at + bytes.len()), 0);
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Each sector is there or not.
fn torn(content: &mut Vec<u8>, at: usize, bytes: &[u8], dice: &mut Dice) {
    let mut done = 0;
    while done < bytes.len() {
        let piece = (SECTOR - (at + done) % SECTOR).min(bytes.len() - done);
        if dice.below(2) == 0 {
            put(content, at + done, &bytes[done..done + piece]);
        }
        done += piece;
    }
}

/// The hexadecimal strings between two marks.
fn strings(text: &str, left: char, right: char) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(left) {
        let Some((inside, behind)) = after.split_once(right) else { break };
        found
            .push(inside.split("\\x").skip(1).filter_map(|byte| u8::from_str_radix(byte.get(..2)?, 16).ok()).collect());
        rest = behind;
    }
    found
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
