//! The event history: dense numbers, a hash chain, a window whose lower end is decided in apply.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::event::Fact;
use crate::{Event, LogIndex, State, WallTime};

/// Events beyond the window that one new event may push out: more than one, so that a smaller window is reached.
const MAX_EVICTED: usize = 4;

/// Why events cannot be given from there on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventsError {
    #[error("events up to {through} are no longer kept: read the state and go on from there")]
    Compacted { through: u64 },
    #[error("event {number} has not happened, the last one is {last}")]
    Ahead { number: u64, last: u64 },
}

/// The last event that is no longer kept; number 0 and a hash of zeros before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventsBefore {
    pub number: u64,
    pub hash: [u8; 32],
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct History {
    pub before: EventsBefore,
    pub window: OrdMap<u64, Arc<Event>>,
}

impl History {
    /// Number and hash of the last event.
    pub fn last(&self) -> EventsBefore {
        self.window.get_max().map_or(self.before, |(_, event)| EventsBefore { number: event.number, hash: event.hash })
    }

    /// Appends an event and returns it with the number of rows touched.
    pub fn append(
        &mut self,
        index: LogIndex,
        wall: WallTime,
        actor: &str,
        fact: Fact,
        window: u64,
    ) -> (Arc<Event>, u64) {
        let last = self.last();
        let mut event = Event { number: last.number + 1, index, wall, actor: actor.to_owned(), fact, hash: [0; 32] };
        event.hash = event.chain(&last.hash);
        let event = Arc::new(event);
        self.window.insert(event.number, Arc::clone(&event));
        (event, 1 + self.evict(window))
    }

    fn evict(&mut self, window: u64) -> u64 {
        let mut evicted = 0;
        while self.window.len() as u64 > window.max(1) && evicted < MAX_EVICTED {
            let Some((number, event)) = self.window.get_min() else { break };
            let number = *number;
            self.before = EventsBefore { number, hash: event.hash };
            self.window.remove(&number);
            evicted += 1;
        }
        evicted as u64
    }
}

impl Event {
    /// The hash of this event behind one whose hash is `before`.
    pub fn chain(&self, before: &[u8; 32]) -> [u8; 32] {
        let fields = (self.number, self.index, self.wall, &self.actor, &self.fact);
        let bytes =
            postcard::to_extend(&fields, before.to_vec()).expect("facts hold no type that postcard cannot encode");
        Sha256::digest(&bytes).into()
    }
}

impl State {
    /// Number of the last event, 0 before the first.
    pub fn last_event_number(&self) -> u64 {
        self.history.last().number
    }

    /// Number of the last event that is no longer kept.
    pub fn events_compacted_through(&self) -> u64 {
        self.history.before.number
    }

    /// The hash of an event, for resume tokens; `None` if it is no longer known or has not happened.
    pub fn event_hash(&self, number: u64) -> Option<[u8; 32]> {
        if number == self.history.before.number {
            return Some(self.history.before.hash);
        }
        self.history.window.get(&number).map(|event| event.hash)
    }

    /// The kept events behind `number`, in order.
    pub fn events_after(&self, number: u64) -> Result<impl Iterator<Item = &Arc<Event>>, EventsError> {
        let (before, last) = (self.history.before.number, self.last_event_number());
        if number < before {
            return Err(EventsError::Compacted { through: before });
        }
        if number > last {
            return Err(EventsError::Ahead { number, last });
        }
        Ok(self.history.window.range((Bound::Excluded(number), Bound::Unbounded)).map(|(_, event)| event))
    }
}
