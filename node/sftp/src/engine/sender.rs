//! Sends replies, one after the other, as long as there are any. The only part of the engine that waits for output.

use std::sync::Arc;

use super::{
    CloseReason, Gone,
    shared::{Reply, Shared},
};

/// Started when there is a reply and no sender; ends when there is none left.
pub(super) async fn run(shared: Arc<Shared>) {
    while let Some(Reply { bytes, room }) = next_reply(&shared) {
        let result = send(&shared, bytes).await;
        shared.change_and_tell(|state, _| {
            if let Some(room) = room {
                state.schedule.sent(room);
            }
            if result.is_err() {
                state.end(CloseReason::Gone);
            }
        });
    }
}

fn next_reply(shared: &Arc<Shared>) -> Option<Reply> {
    shared.change_and_tell(|state, _| {
        let reply = state.replies.pop_front();
        state.is_sending = reply.is_some();
        reply
    })
}

async fn send(shared: &Shared, bytes: bytes::Bytes) -> Result<(), Gone> {
    let mut over = shared.over.subscribe();
    tokio::select! {
        biased;
        _ = over.wait_for(|over| *over) => Err(Gone),
        result = shared.out.send(bytes) => result,
    }
}
