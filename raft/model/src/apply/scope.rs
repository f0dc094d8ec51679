//! The scope of one entry: the state being changed, the entry's times, and what gathers for the answer.

use std::sync::Arc;

use crate::event::Fact;
use crate::table::{self, Meter, Row};
use crate::{Applied, Effect, Entry, Event, LogIndex, LogTime, Reply, Settings, State, WallTime};

/// Above this many rows, commands of an entry choose the cheap form of what they do (a pointer instead of marks).
const HEAVY_ROWS: u64 = 12_000;

pub(super) struct Scope<'a> {
    pub state: &'a mut State,
    pub meter: Meter,
    pub index: LogIndex,
    pub time: LogTime,
    pub wall: WallTime,
    /// Who asked for the current command.
    pub actor: String,
    events: Vec<Event>,
    effects: Vec<Effect>,
}

impl<'a> Scope<'a> {
    pub fn begin(state: &'a mut State, index: LogIndex, entry: &Entry) -> Self {
        let meter = Meter::new(&state.meta.hash, index);
        let time = state.meta.time.max(entry.time);
        state.meta.time = time;
        state.meta.applied_index = index;
        let (events, effects) = (Vec::new(), Vec::new());
        Scope { state, meter, index, time, wall: entry.wall, actor: String::new(), events, effects }
    }

    pub fn finish(mut self, replies: Vec<Reply>, most_rows_by_a_command: u64) -> Applied {
        let rows_touched = self.meter.rows();
        self.meter.write(0, &(), Some(&self.time));
        self.state.meta.hash = self.meter.finish();
        let (events, effects) = (self.events, self.effects);
        Applied { index: self.index, replies, events, effects, rows_touched, most_rows_by_a_command }
    }

    pub fn get<R: Row>(&self, key: &R::Key) -> Option<Arc<R>> {
        R::table(self.state).get(key).cloned()
    }
    pub fn put<R: Row>(&mut self, row: R) {
        table::put(self.state, &mut self.meter, row);
    }
    pub fn remove<R: Row>(&mut self, key: &R::Key) -> Option<Arc<R>> {
        table::remove(self.state, &mut self.meter, key)
    }
    pub fn put_settings(&mut self, settings: Settings) {
        self.meter.write(11, &(), Some(&settings));
        self.state.settings = Some(Arc::new(settings));
    }
    /// Whether a command may still touch many rows in this entry.
    pub fn heavy_allowed(&self) -> bool {
        self.meter.rows() < HEAVY_ROWS
    }

    /// Appends to the public history.
    pub fn event(&mut self, fact: Fact) {
        let window = self.state.settings.as_ref().map_or(1, |settings| settings.event_window);
        let (event, rows) = self.state.history.append(self.index, self.wall, &self.actor, fact, window);
        self.meter.write(12, &event.number, Some(&event.hash));
        self.meter.touch(rows - 1);
        self.events.push(Event::clone(&event));
    }

    pub fn effect(&mut self, effect: Effect) {
        if self.effects.last() != Some(&effect) {
            self.effects.push(effect);
        }
    }
}
