//! What the engine and its jobs share: the schedule, the replies to be sent, and whether the session is over.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use flotilla_session::{Files, OpenFile};
use tokio::{
    runtime::Handle as Runtime,
    sync::{Notify, watch},
};

use super::{
    CloseReason, Config, Out,
    complete::Job,
    schedule::{Room, Schedule, Started},
    sender,
};

pub(super) struct Shared {
    pub files: Arc<dyn Files>,
    pub out: Arc<dyn Out>,
    pub config: Config,
    state: Mutex<State>,
    /// Something ended: a job, a send, an abandonment, the session.
    changed: Notify,
    /// Turns true when the session is over.
    pub over: watch::Sender<bool>,
    runtime: Runtime,
}

#[derive(Default)]
pub(super) struct State {
    pub schedule: Schedule,
    pub replies: VecDeque<Reply>,
    pub is_sending: bool,
    /// A job is being run by the loop that feeds: it sends the answer itself.
    pub is_here: bool,
    pub over: Option<CloseReason>,
    pub abandoning: usize,
}

pub(super) struct Reply {
    pub bytes: Bytes,
    pub room: Option<Room>,
}

/// What a change of the state leads to. Carried out after the lock is released.
#[derive(Default)]
pub(super) struct Next {
    start: Vec<Started>,
    abandon: Vec<Arc<dyn OpenFile>>,
    send: bool,
    close: Option<CloseReason>,
}

impl State {
    pub fn outstanding(&self) -> usize {
        self.schedule.outstanding() + self.replies.len()
    }

    /// Nothing waits, runs or is unsent.
    pub fn is_idle(&self) -> bool {
        self.outstanding() == 0 && !self.is_sending
    }

    pub fn end(&mut self, reason: CloseReason) {
        if self.over.is_none() {
            self.over = Some(reason);
            self.replies.clear();
            self.schedule.clear();
        }
    }

    /// Ends the session from within: the channel has to be told, unless the loop that feeds is here, which tells it by [`Feed::Close`].
    pub fn end_and_close(&mut self, reason: CloseReason, next: &mut Next) {
        if self.over.is_none() {
            next.close = (!self.is_here).then(|| reason.clone());
            self.end(reason);
        }
    }

    /// Starts what may start now, or takes leave of what is left.
    fn settle(&mut self, config: &Config, next: &mut Next) {
        if self.over.is_some() {
            let idle = self.schedule.take_idle_files();
            self.abandoning += idle.len();
            next.abandon.extend(idle);
            return;
        }
        next.start.extend(std::iter::from_fn(|| self.schedule.start_next(config)));
        if !self.replies.is_empty() && !self.is_sending && !self.is_here {
            self.is_sending = true;
            next.send = true;
        }
    }
}

impl Shared {
    pub fn new(files: Arc<dyn Files>, config: Config, out: Arc<dyn Out>) -> Self {
        Self {
            files,
            out,
            config,
            state: Mutex::default(),
            changed: Notify::new(),
            over: watch::Sender::new(false),
            runtime: Runtime::current(),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, then does what follows from it. The only way in which anything is started.
    pub fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut State, &mut Next) -> T) -> T {
        self.change_and_keep(false, change).0
    }

    /// As [`Shared::change`], for a change after which one job may be run by the caller instead of as a task.
    pub fn change_to_run<T>(self: &Arc<Self>, change: impl FnOnce(&mut State, &mut Next) -> T) -> (T, Option<Started>) {
        self.change_and_keep(true, change)
    }

    fn change_and_keep<T>(
        self: &Arc<Self>,
        keeps: bool,
        change: impl FnOnce(&mut State, &mut Next) -> T,
    ) -> (T, Option<Started>) {
        let mut next = Next::default();
        let mut state = self.lock();
        let result = change(&mut state, &mut next);
        state.settle(&self.config, &mut next);
        if state.over.is_some() {
            self.over.send_replace(true);
        }
        let kept = if keeps { next.start.pop() } else { None };
        state.is_here |= kept.is_some();
        drop(state);
        self.carry_out(next);
        (result, kept)
    }

    /// As [`Shared::change`], for what others may wait for.
    pub fn change_and_tell<T>(self: &Arc<Self>, change: impl FnOnce(&mut State, &mut Next) -> T) -> T {
        let result = self.change(change);
        self.changed.notify_waiters();
        result
    }

    fn carry_out(self: &Arc<Self>, next: Next) {
        for started in next.start {
            self.spawn(Job::new(self.clone(), started).run());
        }
        for file in next.abandon {
            self.runtime.spawn(self.clone().abandon(file));
        }
        if next.send {
            self.runtime.spawn(sender::run(self.clone()));
        }
        if let Some(reason) = next.close {
            let out = self.out.clone();
            self.runtime.spawn(async move { out.close(reason).await });
        }
    }

    /// On a thread that may wait: a file that was removed is freed when its last descriptor closes.
    pub async fn drop_aside<T: Send + 'static>(&self, last: T) {
        // It fails when the runtime goes away: then it was dropped all the same.
        let _ = self.runtime.spawn_blocking(move || drop(last)).await;
    }

    pub fn spawn(&self, job: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(job);
    }

    async fn abandon(self: Arc<Self>, file: Arc<dyn OpenFile>) {
        file.abandon().await;
        self.drop_aside(file).await;
        self.change_and_tell(|state, _| state.abandoning -= 1);
    }

    pub fn end(self: &Arc<Self>, reason: CloseReason) {
        self.change_and_tell(|state, _| state.end(reason));
    }

    /// Waits until `look` finds something. It is asked again after every change.
    pub async fn wait_for<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = look(&mut self.lock()) {
                return found;
            }
            changed.await;
        }
    }

    /// Waits until nothing runs, is being sent or abandoned.
    pub async fn quiet(&self) {
        let is_quiet = |state: &State| state.schedule.running() == 0 && state.abandoning == 0 && !state.is_sending;
        self.wait_for(|state| is_quiet(state).then_some(())).await;
    }
}
