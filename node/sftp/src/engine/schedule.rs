//! Decides which request may start next. Pure: no tasks, no waiting, no clocks.
//!
//! Requests on a handle start in the order they came, as soon as they conflict with nothing that runs on it; path operations run one at a
//! time, each after the earlier changes of open files at or below its paths. A request whose reply needs room waits for that room.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use flotilla_session::OpenFile;

use super::{
    Config,
    budget::Taken,
    conflict::{Access, canonical, is_within},
    handles::{Handle, Handles},
    work::{HandleWork, PathWork, Target},
};

/// Bytes of a request that are held until it is done.
#[derive(Debug)]
pub(super) struct Payload {
    bytes: usize,
    _taken: Taken,
}

/// Room for a reply, held until it is sent.
#[derive(Debug)]
pub(super) struct Room {
    bytes: usize,
    taken: Taken,
}

struct Job<W> {
    id: u32,
    /// Place in the order of arrival.
    number: u64,
    work: W,
    payload: Option<Payload>,
}

struct Running {
    number: u64,
    access: Access,
}

struct OpenHandle {
    target: Target,
    /// As the client sent it.
    path: Arc<[u8]>,
    /// For comparing.
    canonical: Vec<u8>,
    closing: bool,
    waiting: VecDeque<Job<HandleWork>>,
    running: Vec<Running>,
    /// Numbers of the unfinished requests that change the file or must be waited for like one.
    changes: BTreeSet<u64>,
}

/// A job that runs: what must be given back when it is done.
#[derive(Debug)]
pub(super) struct Ticket {
    pub id: u32,
    number: u64,
    pub handle: Option<Handle>,
    payload: Option<Payload>,
    room: Option<Room>,
}

pub(super) struct Started {
    pub ticket: Ticket,
    pub work: Work,
}

pub(super) enum Work {
    Path(PathWork),
    Handle { target: Target, path: Arc<[u8]>, work: HandleWork },
}

#[derive(Default)]
pub(super) struct Schedule {
    handles: Handles<OpenHandle>,
    paths: VecDeque<Job<PathWork>>,
    is_path_running: bool,
    /// Handles on which something waits, each once.
    waiting_handles: VecDeque<Handle>,
    next_number: u64,
    running: usize,
    waiting: usize,
    payload_bytes: usize,
    /// Room held by running jobs and unsent replies.
    reply_bytes: usize,
    unsent_bytes: usize,
}

impl Schedule {
    pub fn running(&self) -> usize {
        self.running
    }

    pub fn outstanding(&self) -> usize {
        self.running + self.waiting
    }

    pub fn open_handles(&self) -> usize {
        self.handles.len()
    }

    /// What an open handle stands for; `None` also when its CLOSE has come.
    pub fn target(&self, handle: Handle) -> Option<&Target> {
        self.handles.get(handle).filter(|open| !open.closing).map(|open| &open.target)
    }

    pub fn add_handle(&mut self, target: Target, path: Vec<u8>) -> Handle {
        self.handles.insert(OpenHandle {
            target,
            canonical: canonical(&path),
            path: path.into(),
            closing: false,
            waiting: VecDeque::new(),
            running: Vec::new(),
            changes: BTreeSet::new(),
        })
    }

    /// Room for a request's bytes. A session that holds none gets its first whatever its size.
    pub fn try_payload(&mut self, bytes: usize, config: &Config) -> Option<Payload> {
        let taken = if self.payload_bytes == 0 {
            config.node_payloads.try_take(bytes).unwrap_or_else(Taken::reserve)
        } else if self.payload_bytes + bytes <= config.payload_bytes {
            config.node_payloads.try_take(bytes)?
        } else {
            return None;
        };
        self.payload_bytes += bytes;
        Some(Payload { bytes, _taken: taken })
    }

    pub fn release(&mut self, payload: Option<Payload>) {
        self.payload_bytes -= payload.map_or(0, |payload| payload.bytes);
    }

    pub fn push_path(&mut self, id: u32, work: PathWork, payload: Payload) {
        let number = self.number();
        self.waiting += 1;
        self.paths.push_back(Job { id, number, work, payload: Some(payload) });
    }

    /// The handle must be open: see [`Schedule::target`].
    pub fn push_handle(&mut self, id: u32, handle: Handle, work: HandleWork, payload: Option<Payload>) {
        let number = self.number();
        let Some(open) = self.handles.get_mut(handle) else { return };
        if work.access(&open.target).is_change() && matches!(open.target, Target::File { .. }) {
            open.changes.insert(number);
        }
        open.closing |= matches!(work, HandleWork::Close);
        if open.waiting.is_empty() {
            self.waiting_handles.push_back(handle);
        }
        open.waiting.push_back(Job { id, number, work, payload });
        self.waiting += 1;
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Takes a job that may start now.
    pub fn start_next(&mut self, config: &Config) -> Option<Started> {
        if self.running >= config.running_jobs {
            return None;
        }
        let started = self.start_path().or_else(|| self.start_on_some_handle(config))?;
        self.running += 1;
        self.waiting -= 1;
        Some(started)
    }

    fn start_path(&mut self) -> Option<Started> {
        let job = self.paths.front()?;
        if self.is_path_running || self.has_earlier_change(job) {
            return None;
        }
        self.is_path_running = true;
        let job = self.paths.pop_front()?;
        let ticket = Ticket { id: job.id, number: job.number, handle: None, payload: job.payload, room: None };
        Some(Started { ticket, work: Work::Path(job.work) })
    }

    fn has_earlier_change(&self, job: &Job<PathWork>) -> bool {
        let touches = job.work.touches();
        self.handles.iter().any(|(_, open)| {
            open.changes.first().is_some_and(|first| *first < job.number)
                && touches.iter().any(|path| is_within(&open.canonical, path))
        })
    }

    /// Handles take turns, so that one with many requests does not keep the others waiting.
    fn start_on_some_handle(&mut self, config: &Config) -> Option<Started> {
        for _ in 0..self.waiting_handles.len() {
            let handle = self.waiting_handles.pop_front()?;
            let started = self.start_on(handle, config);
            if self.handles.get(handle).is_some_and(|open| !open.waiting.is_empty()) {
                self.waiting_handles.push_back(handle);
            }
            if started.is_some() {
                return started;
            }
        }
        None
    }

    fn start_on(&mut self, handle: Handle, config: &Config) -> Option<Started> {
        let open = self.handles.get(handle)?;
        let work = &open.waiting.front()?.work;
        let access = work.access(&open.target);
        if open.running.iter().any(|running| running.access.conflicts(&access)) {
            return None;
        }
        let room = match work.reply_bytes() {
            0 => None,
            bytes => Some(self.try_room(bytes, config)?),
        };
        let open = self.handles.get_mut(handle)?;
        let Job { id, number, work, payload } = open.waiting.pop_front()?;
        open.running.push(Running { number, access });
        let ticket = Ticket { id, number, handle: Some(handle), payload, room };
        let work = Work::Handle { target: open.target.clone(), path: open.path.clone(), work };
        Some(Started { ticket, work })
    }

    /// A session that holds no room gets its first whatever the node has left.
    fn try_room(&mut self, bytes: usize, config: &Config) -> Option<Room> {
        let taken = if self.reply_bytes == 0 {
            config.node_replies.try_take(bytes).unwrap_or_else(Taken::reserve)
        } else if self.reply_bytes + bytes <= config.reply_bytes && self.unsent_bytes < config.unsent_bytes {
            config.node_replies.try_take(bytes)?
        } else {
            return None;
        };
        self.reply_bytes += bytes;
        Some(Room { bytes, taken })
    }

    /// A job has ended with a reply of this size. The room for it, if it needed any, is held until [`Schedule::sent`].
    pub fn done(&mut self, ticket: Ticket, reply_bytes: usize) -> Option<Room> {
        self.running -= 1;
        self.release(ticket.payload);
        match ticket.handle {
            None => self.is_path_running = false,
            Some(handle) => self.done_on(handle, ticket.number),
        }
        let mut room = ticket.room?;
        // Statuses need no room, so a reply that is one gives all of it back.
        let kept = reply_bytes.min(room.bytes);
        self.reply_bytes -= room.bytes - kept;
        room.bytes = kept;
        room.taken.shrink_to(kept);
        self.unsent_bytes += kept;
        Some(room)
    }

    fn done_on(&mut self, handle: Handle, number: u64) {
        let Some(open) = self.handles.get_mut(handle) else { return };
        open.running.retain(|running| running.number != number);
        open.changes.remove(&number);
    }

    pub fn sent(&mut self, room: Room) {
        self.reply_bytes -= room.bytes;
        self.unsent_bytes -= room.bytes;
    }

    pub fn remove_handle(&mut self, handle: Handle) -> Option<Target> {
        self.handles.remove(handle).map(|open| open.target)
    }

    /// Forgets everything that waits.
    pub fn clear(&mut self) {
        self.paths.clear();
        self.waiting_handles.clear();
        self.waiting = 0;
        let handles: Vec<Handle> = self.handles.iter().map(|(handle, _)| handle).collect();
        for handle in handles {
            if let Some(open) = self.handles.get_mut(handle) {
                open.waiting.clear();
            }
        }
    }

    /// Takes out the handles on which nothing runs and returns their files.
    pub fn take_idle_files(&mut self) -> Vec<Arc<dyn OpenFile>> {
        let idle: Vec<Handle> =
            self.handles.iter().filter(|(_, open)| open.running.is_empty()).map(|(handle, _)| handle).collect();
        let targets = idle.into_iter().filter_map(|handle| self.remove_handle(handle));
        targets
            .filter_map(|target| match target {
                Target::File { file, .. } => Some(file),
                Target::Directory(_) => None,
            })
            .collect()
    }
}
