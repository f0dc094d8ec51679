//! Linearizable reads: shared ReadIndex rounds through the leader, then local apply (`PROTOCOL.md` 3.4). Never LeaseRead.
//!
//! A node has at most one round under way; whoever asks meanwhile shares the next, which begins when this one ends. So a
//! read on an idle node costs one round trip, and many at once cost no more rounds. A refusal may wait a little longer:
//! rounds that only refusals ask for begin at most once per `shortest`, whatever a guesser of passwords does.

use std::sync::Arc;
use std::time::Duration;

use flotilla_cluster::Unavailable;
use flotilla_model::LogIndex;
use openraft::ReadPolicy;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::net::Calls;
use crate::shared::Shared;
use crate::types::Raft;

/// Reads that may wait for the next round, and as many more behind them in the channel.
const QUEUE: usize = 8_192;
const ROUND_WITHIN: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(50);

/// The index that a read begun now must have applied, by this node as the leader.
pub async fn leader_index(raft: &Raft) -> Result<LogIndex, String> {
    let policy = ReadPolicy::ReadIndex;
    #[cfg(feature = "planted-bugs")]
    let policy = if flotilla_model::planted::is("lease-read") { ReadPolicy::LeaseRead } else { policy };
    match raft.get_read_linearizer(policy).await {
        Ok(linearizer) => Ok(linearizer.read_log_id().index()),
        Err(error) => Err(error.to_string()),
    }
}

/// What a caller is about to do with what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Read,
    Refusal,
}

struct Waiter {
    purpose: Purpose,
    answer: oneshot::Sender<LogIndex>,
}

/// Callers of `barrier` wait here. Cheap to clone.
#[derive(Clone)]
pub struct Reads {
    queue: mpsc::Sender<Waiter>,
    shared: Arc<Shared>,
}

impl Reads {
    pub fn spawn(raft: Raft, shared: Arc<Shared>, calls: Arc<dyn Calls>, shortest: Duration) -> Self {
        let (queue, waiters) = mpsc::channel(QUEUE);
        let line = Line { waiters, waiting: Vec::new() };
        let rounds = Rounds { raft, shared: Arc::clone(&shared), calls, line, shortest };
        tokio::spawn(rounds.run());
        Reads { queue, shared }
    }

    /// Waits for a round begun after this call, and until its index is applied here.
    pub async fn barrier(&self, purpose: Purpose, within: Duration) -> Result<LogIndex, Unavailable> {
        #[cfg(feature = "planted-bugs")]
        if flotilla_model::planted::is("stale-read") {
            return Ok(*self.shared.applied().borrow());
        }
        let deadline = Instant::now() + within;
        let (answer, index) = oneshot::channel();
        let waiter = Waiter { purpose, answer };
        self.queue.try_send(waiter).map_err(|_| Unavailable("too many reads wait for the leader".to_owned()))?;
        let index = match timeout_at(deadline, index).await {
            Ok(Ok(index)) => index,
            Ok(Err(_)) => return Err(Unavailable("this node is shutting down".to_owned())),
            Err(_) => return Err(Unavailable("no leader confirmed a read in time".to_owned())),
        };
        let mut applied = self.shared.applied();
        match timeout_at(deadline, applied.wait_for(|applied| *applied >= index)).await {
            Ok(Ok(applied)) => Ok(*applied),
            _ => Err(Unavailable("this node lags behind the leader".to_owned())),
        }
    }
}

/// Who waits for a round.
struct Line {
    waiters: mpsc::Receiver<Waiter>,
    waiting: Vec<Waiter>,
}

impl Line {
    /// Returns when a round is due, with all in `waiting` who asked before it begins, as far as they find room there: at once
    /// for a read, from `next_refusal` on for refusals alone. `None` when nobody can ask any more.
    async fn round_due(&mut self, next_refusal: Instant) -> Option<()> {
        loop {
            while self.has_room()
                && let Ok(waiter) = self.waiters.try_recv()
            {
                self.waiting.push(waiter);
            }
            if self.waiting.iter().any(|waiter| waiter.purpose == Purpose::Read) {
                return Some(());
            }
            let next = if self.waiting.is_empty() {
                self.waiters.recv().await?
            } else if !self.has_room() {
                sleep_until(next_refusal).await;
                return Some(());
            } else {
                match timeout_at(next_refusal, self.waiters.recv()).await {
                    Ok(waiter) => waiter?,
                    Err(_) => return Some(()),
                }
            };
            self.waiting.push(next);
        }
    }

    /// Rounds may fail for long: whoever does not fit stays in the channel, and when that is full, too, is refused.
    fn has_room(&self) -> bool {
        self.waiting.len() < QUEUE
    }

    /// A round has failed: who still waits has the next.
    fn drop_those_who_left(&mut self) {
        self.waiting.retain(|waiter| !waiter.answer.is_closed());
    }

    fn answer(&mut self, index: LogIndex) {
        #[cfg(feature = "planted-bugs")]
        if flotilla_model::planted::is("round-shared-late") {
            self.waiting.extend(std::iter::from_fn(|| self.waiters.try_recv().ok()));
        }
        for waiter in self.waiting.drain(..) {
            let _ = waiter.answer.send(index);
        }
    }
}

struct Rounds {
    raft: Raft,
    shared: Arc<Shared>,
    calls: Arc<dyn Calls>,
    line: Line,
    /// Shortest time between a round and the next that only refusals ask for.
    shortest: Duration,
}

impl Rounds {
    async fn run(mut self) {
        let mut next_refusal = Instant::now();
        while self.line.round_due(next_refusal).await.is_some() {
            next_refusal = Instant::now() + self.shortest;
            match timeout(ROUND_WITHIN, self.round()).await {
                Ok(Ok(index)) => self.line.answer(index),
                failed => {
                    if let Ok(Err(why)) = failed {
                        tracing::debug!(why, "read round failed");
                    }
                    sleep(AGAIN).await;
                    self.line.drop_those_who_left();
                }
            }
        }
    }

    async fn round(&self) -> Result<LogIndex, String> {
        metrics::counter!("flotilla_raft_read_rounds_total").increment(1);
        match self.shared.leader() {
            None => Err("no leader is known".to_owned()),
            Some(leader) if leader == self.shared.node => leader_index(&self.raft).await,
            Some(leader) => self.calls.read_index(leader, ROUND_WITHIN).await.map_err(|error| error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn line() -> (mpsc::Sender<Waiter>, Line) {
        let (queue, waiters) = mpsc::channel(QUEUE);
        (queue, Line { waiters, waiting: Vec::new() })
    }

    fn ask(queue: &mpsc::Sender<Waiter>, purpose: Purpose) -> oneshot::Receiver<LogIndex> {
        let (answer, index) = oneshot::channel();
        assert!(queue.try_send(Waiter { purpose, answer }).is_ok(), "the queue has room");
        index
    }

    #[tokio::test(start_paused = true)]
    async fn reads_begin_at_once_and_all_that_wait_share_the_round() {
        let (queue, mut line) = line();
        let spaced = Instant::now() + 20 * MS;
        let mut indexes: Vec<_> = (0..100).map(|_| ask(&queue, Purpose::Read)).collect();
        indexes.push(ask(&queue, Purpose::Refusal));
        let began = Instant::now();
        line.round_due(spaced).await.expect("somebody may ask");
        assert_eq!(began.elapsed(), Duration::ZERO);
        line.answer(7);
        for index in &mut indexes {
            assert_eq!(index.try_recv(), Ok(7));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_alone_wait_for_their_time_and_a_read_takes_them_along() {
        let (queue, mut line) = line();
        let began = Instant::now();
        let spaced = began + 20 * MS;
        let _first = ask(&queue, Purpose::Refusal);
        line.round_due(spaced).await.expect("somebody may ask");
        assert_eq!(began.elapsed(), 20 * MS, "nobody but refusals asked");
        line.answer(1);
        let mut second = ask(&queue, Purpose::Refusal);
        let later = tokio::spawn(async move {
            sleep(5 * MS).await;
            ask(&queue, Purpose::Read).await
        });
        let began = Instant::now();
        line.round_due(began + 20 * MS).await.expect("somebody may ask");
        assert_eq!(began.elapsed(), 5 * MS);
        line.answer(2);
        assert_eq!(second.try_recv(), Ok(2));
        assert_eq!(later.await.expect("no panic"), Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_bounded_while_rounds_fail() {
        for purpose in [Purpose::Read, Purpose::Refusal] {
            let (queue, mut line) = line();
            let fill = || (0..QUEUE).map(|_| ask(&queue, purpose)).collect::<Vec<_>>();
            let spaced = Instant::now() + 20 * MS;
            let first = fill();
            line.round_due(spaced).await.expect("somebody may ask");
            line.drop_those_who_left();
            let _second = fill();
            line.round_due(spaced).await.expect("somebody may ask");
            assert_eq!(line.waiting.len(), QUEUE, "{purpose:?}");
            let late = Waiter { purpose, answer: oneshot::channel().0 };
            assert!(queue.try_send(late).is_err(), "{purpose:?}: it is refused");
            drop(first);
            line.drop_those_who_left();
            line.round_due(spaced).await.expect("somebody may ask");
            assert_eq!(line.waiting.len(), QUEUE, "{purpose:?}: those behind have moved up");
            let _room = ask(&queue, purpose);
        }
    }
}
