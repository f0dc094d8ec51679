//! Linearizable reads: shared ReadIndex rounds through the leader, then local apply (`PROTOCOL.md` 3.4). Never LeaseRead.

use std::sync::Arc;
use std::time::Duration;

use flotilla_cluster::Unavailable;
use flotilla_model::LogIndex;
use openraft::ReadPolicy;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::net::Peers;
use crate::shared::Shared;
use crate::types::Raft;

/// Reads that may wait for the next round.
const QUEUE: usize = 8_192;
const ROUND_WITHIN: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(50);

/// The index that a read begun now must have applied, by this node as the leader.
pub async fn leader_index(raft: &Raft) -> Result<LogIndex, String> {
    match raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
        Ok(linearizer) => Ok(linearizer.read_log_id().index()),
        Err(error) => Err(error.to_string()),
    }
}

type Waiter = oneshot::Sender<LogIndex>;

/// Callers of `barrier` wait here. Cheap to clone.
#[derive(Clone)]
pub struct Reads {
    queue: mpsc::Sender<Waiter>,
    shared: Arc<Shared>,
}

impl Reads {
    pub fn spawn(raft: Raft, shared: Arc<Shared>, peers: Arc<Peers>, shortest: Duration) -> Self {
        let (queue, waiters) = mpsc::channel(QUEUE);
        let rounds = Rounds { raft, shared: Arc::clone(&shared), peers, waiters, shortest };
        tokio::spawn(rounds.run());
        Reads { queue, shared }
    }

    /// Waits for a round begun after this call, and until its index is applied here.
    pub async fn barrier(&self, within: Duration) -> Result<LogIndex, Unavailable> {
        #[cfg(feature = "planted-bugs")]
        if flotilla_model::planted::is("stale-read") {
            return Ok(*self.shared.applied().borrow());
        }
        let deadline = Instant::now() + within;
        let (answer, index) = oneshot::channel();
        self.queue.try_send(answer).map_err(|_| Unavailable("too many reads wait for the leader".to_owned()))?;
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

struct Rounds {
    raft: Raft,
    shared: Arc<Shared>,
    peers: Arc<Peers>,
    waiters: mpsc::Receiver<Waiter>,
    /// Shortest time between two rounds.
    shortest: Duration,
}

impl Rounds {
    async fn run(mut self) {
        let mut waiting: Vec<Waiter> = Vec::new();
        let mut next = Instant::now();
        loop {
            if waiting.is_empty() {
                match self.waiters.recv().await {
                    Some(waiter) => waiting.push(waiter),
                    None => return,
                }
            }
            sleep_until(next).await;
            // Whoever waits now began before the round does.
            while let Ok(waiter) = self.waiters.try_recv() {
                waiting.push(waiter);
            }
            next = Instant::now() + self.shortest;
            match timeout(ROUND_WITHIN, self.round()).await {
                Ok(Ok(index)) => waiting.drain(..).for_each(|waiter| {
                    let _ = waiter.send(index);
                }),
                failed => {
                    if let Ok(Err(why)) = failed {
                        tracing::debug!(why, "read round failed");
                    }
                    sleep(AGAIN).await;
                    waiting.retain(|waiter| !waiter.is_closed());
                }
            }
        }
    }

    async fn round(&self) -> Result<LogIndex, String> {
        metrics::counter!("flotilla_raft_read_rounds_total").increment(1);
        match self.shared.leader() {
            None => Err("no leader is known".to_owned()),
            Some(leader) if leader == self.shared.node => leader_index(&self.raft).await,
            Some(leader) => self.peers.read_index(leader, ROUND_WITHIN).await.map_err(|error| error.to_string()),
        }
    }
}
