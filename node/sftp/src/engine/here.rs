//! Runs a job inside `feed` as far as it goes without waiting: most are done by then, and need no task, no queue and no sender.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use super::{
    complete::Job,
    inline::Inline,
    schedule::Started,
    shared::{Reply, Shared},
};

/// Room that is looked for before a job is run here whose reply has no room of its own: statuses, attributes, names.
const SMALL_REPLY: usize = 8192;

impl Shared {
    /// Whether a request that is pushed now may be run here: everything before it was answered, and its answer can be sent.
    pub fn may_run_here(&self, reply_bytes: usize, inline: &mut Inline<'_>) -> bool {
        inline.has_room(reply_bytes.max(SMALL_REPLY)) && self.lock().is_idle() && inline.take_turn()
    }

    /// Polls the job once. What then waits goes on as a task of its own: the loop that feeds waits for nothing.
    pub async fn run_here(self: &Arc<Self>, started: Started, inline: &mut Inline<'_>) {
        let mut job: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(Job::new(self.clone(), started).run());
        // A panic answers the request (see `Job`) and ends there.
        let polled = poll_fn(|cx| Poll::Ready(catch_unwind(AssertUnwindSafe(|| job.as_mut().poll(cx))))).await;
        if let Ok(Poll::Pending) = polled {
            self.spawn(job);
        }
        self.answer_here(inline);
    }

    /// Sends what was answered meanwhile, as far as there is room; the rest is the sender's.
    fn answer_here(self: &Arc<Self>, inline: &mut Inline<'_>) {
        self.change_and_tell(|state, _| {
            state.is_here = false;
            while let Some(Reply { bytes, room }) =
                state.replies.pop_front_if(|reply| inline.has_room(reply.bytes.len()))
            {
                if let Some(room) = room {
                    state.schedule.sent(room);
                }
                inline.reply(bytes);
            }
        });
    }
}
