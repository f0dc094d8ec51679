//! Tells the operator, once each, that the quorum is lost and that there is a leader again.
//!
//! A follower has lost it when it knows no leader. The engine's leader goes on leading when no quorum answers it any more (it only
//! commits nothing), so that it has to look at how old the last answer of a quorum is.

use std::time::Duration;

use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver;
use tokio::time::{Instant, sleep};

use crate::types::Raft;

pub struct QuorumLog {
    raft: Raft,
    own: u64,
    /// A leader that no quorum answered for so long has lost it: by then the others elect another.
    within: Duration,
    /// Since when it is lost, as far as was said.
    lost: Option<Instant>,
    /// Since when this node leads others.
    leads: Option<Instant>,
    term: u64,
}

impl QuorumLog {
    pub fn new(raft: Raft, own: u64, within: Duration) -> Self {
        QuorumLog { raft, own, within, lost: None, leads: None, term: 0 }
    }

    /// Who leads or in which term has changed.
    pub fn leadership(&mut self, term: u64, leader: Option<u64>) {
        (self.term, self.leads) = (term, None);
        match leader {
            Some(leader) => self.has_leader(leader),
            None => self.is_lost("no leader is known", Duration::ZERO),
        }
    }

    /// Leadership or membership may have changed. A sole voter is its own quorum, which the engine does not count.
    pub fn counts_on_others(&mut self, leader: Option<u64>, voters: usize) {
        if leader == Some(self.own) && voters > 1 {
            self.leads.get_or_insert_with(Instant::now);
        } else {
            self.leads = None;
        }
    }

    /// Watches how a leader's followers answer it, for ever. May be dropped at any await.
    pub async fn watch_answers(&mut self) {
        let Some(leads) = self.leads else { return std::future::pending().await };
        let mut answers = self.raft.data_metrics();
        loop {
            let answered = answers.borrow_watched().last_quorum_acked.map(|at| at.elapsed());
            let silent = answered.map_or(leads.elapsed(), |silent| silent.min(leads.elapsed()));
            if silent < self.within {
                if self.lost.is_some() {
                    self.has_leader(self.own);
                }
                sleep(self.within - silent).await;
            } else {
                self.is_lost("no quorum answers this leader", silent);
                if answers.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        }
    }

    fn has_leader(&mut self, leader: u64) {
        let without_ms = self.lost.take().map_or(0, |since| since.elapsed().as_millis() as u64);
        tracing::info!(event = "leader_known", term = self.term, leader, without_ms);
    }

    fn is_lost(&mut self, why: &str, silent: Duration) {
        if self.lost.is_none() {
            self.lost = Some(Instant::now() - silent);
            tracing::warn!(event = "quorum_lost", term = self.term, why);
        }
    }
}
