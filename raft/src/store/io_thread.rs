//! The one thread that writes the log: it takes what is queued, writes it as one group, syncs once, answers in order.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use super::backend::{LogBackend, Op};
use crate::{metric, priority};

/// Requests that may wait; beyond it callers are refused, and openraft bounds what it has in flight far below.
const QUEUE: usize = 16_384;
/// Requests written as one group at most.
const GROUP: usize = 512;
/// Groups after which there is a turn of tidying in any case.
const TIDY_EVERY: u64 = 64;
/// Shortest wait between turns of tidying while nothing is written.
const TIDY_AGAIN: Duration = Duration::from_millis(5);
/// A disk that takes longer for one group holds up elections and renewals; it is worth a line in the log.
const SLOW: Duration = Duration::from_millis(500);

/// Called on the IO thread when the operation is where it has to be.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

struct Request {
    op: Op,
    done: Done,
}

/// Where operations queue on their way to the back end.
pub trait Writer: Send + Sync + 'static {
    /// Queues an operation. Operations are written and answered in the order of these calls.
    fn push(&self, op: Op, done: Done) -> io::Result<()>;
}

#[derive(Clone)]
pub struct IoThread {
    queue: SyncSender<Request>,
}

impl IoThread {
    /// `guard` is dropped when the back end is closed: what it locks stays locked until then.
    pub fn spawn(backend: impl LogBackend, guard: impl Send + 'static) -> io::Result<Self> {
        let (queue, requests) = sync_channel(QUEUE);
        std::thread::Builder::new().name("flotilla-log".to_owned()).spawn(move || {
            priority::raise();
            run(backend, &requests);
            drop(guard);
        })?;
        Ok(IoThread { queue })
    }
}

impl Writer for IoThread {
    fn push(&self, op: Op, done: Done) -> io::Result<()> {
        self.queue.try_send(Request { op, done }).map_err(|error| match error {
            TrySendError::Full(_) => io::Error::other("the log's write queue is full"),
            TrySendError::Disconnected(_) => io::Error::other("the log's writer has ended"),
        })
    }
}

fn run(mut backend: impl LogBackend, requests: &Receiver<Request>) {
    let mut untidy = true;
    let mut groups = 0_u64;
    loop {
        let first = if untidy {
            match requests.recv_timeout(TIDY_AGAIN) {
                Ok(request) => Some(request),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            }
        } else {
            match requests.recv() {
                Ok(request) => Some(request),
                Err(_) => break,
            }
        };
        if let Some(first) = first {
            let group: Vec<Request> = std::iter::once(first).chain(requests.try_iter().take(GROUP - 1)).collect();
            groups += 1;
            untidy |=
                groups.is_multiple_of(TIDY_EVERY) || group.iter().any(|request| matches!(request.op, Op::Purged(_)));
            if let Err(error) = write_group(&mut backend, group) {
                return refuse_all(requests, &error);
            }
        }
        if untidy {
            match backend.tidy() {
                Ok(more) => untidy = more,
                Err(error) => return refuse_all(requests, &error),
            }
        }
    }
    // A clean stop: what was written without a sync (the committed index) is kept too.
    let _ = backend.sync();
}

fn write_group(backend: &mut impl LogBackend, group: Vec<Request>) -> io::Result<()> {
    let (ops, dones): (Vec<Op>, Vec<Done>) = group.into_iter().map(|request| (request.op, request.done)).unzip();
    let sync = ops.iter().any(Op::needs_sync);
    let began = Instant::now();
    let result = backend.write(&ops).and_then(|()| if sync { backend.sync() } else { Ok(()) });
    let took = began.elapsed();
    metric::log_write(took);
    if took > SLOW {
        let (ms, group) = (took.as_millis() as u64, ops.len());
        tracing::warn!(event = "slow_disk", ms, group, "writing the log took long");
    }
    for done in dones {
        done(result.as_ref().map(|_| ()).map_err(repeat));
    }
    result
}

/// After a failed write nothing is known of the disk's content: nothing is written any more.
fn refuse_all(requests: &Receiver<Request>, error: &io::Error) {
    tracing::error!(%error, "log store failed; this node stops writing");
    while let Ok(request) = requests.recv() {
        (request.done)(Err(repeat(error)));
    }
}

fn repeat(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
