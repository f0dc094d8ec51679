//! Answers on the spot, bounded per callback.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    InlineOut,
    shared::{Reply, Shared},
};

/// Jobs run on the spot in one `feed`; with 32 KiB of input, clients that do not flood need less.
const TURNS: usize = 64;

/// The caller's output during one `feed`.
pub(super) struct Inline<'a> {
    out: &'a mut dyn InlineOut,
    left: usize,
    /// Jobs that may still be run within this `feed`: what a client may keep the loop busy with at a time.
    turns: usize,
}

impl<'a> Inline<'a> {
    pub fn new(out: &'a mut dyn InlineOut, bytes: usize) -> Self {
        Self { out, left: bytes, turns: TURNS }
    }

    pub fn has_room(&self, bytes: usize) -> bool {
        bytes <= self.left && self.out.window_open()
    }

    /// One more job may be run here.
    pub fn take_turn(&mut self) -> bool {
        let has_turn = self.turns > 0;
        self.turns -= usize::from(has_turn);
        has_turn
    }

    pub fn reply(&mut self, reply: Bytes) {
        self.left = self.left.saturating_sub(reply.len());
        self.out.reply(reply);
    }

    /// A small reply: here if there is room, else through the sender.
    pub fn answer(&mut self, shared: &Arc<Shared>, bytes: Bytes) {
        if self.has_room(bytes.len()) {
            self.reply(bytes);
        } else {
            shared.change(|state, _| {
                if state.over.is_none() {
                    state.replies.push_back(Reply { bytes, room: None });
                }
            });
        }
    }
}
