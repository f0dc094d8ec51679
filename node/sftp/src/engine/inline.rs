//! Answers on the spot, bounded per callback.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    InlineOut,
    shared::{Reply, Shared},
};

/// The caller's output during one `feed`.
pub(super) struct Inline<'a> {
    out: &'a mut dyn InlineOut,
    left: usize,
}

impl<'a> Inline<'a> {
    pub fn new(out: &'a mut dyn InlineOut, bytes: usize) -> Self {
        Self { out, left: bytes }
    }

    pub fn has_room(&self, bytes: usize) -> bool {
        bytes <= self.left && self.out.window_open()
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
