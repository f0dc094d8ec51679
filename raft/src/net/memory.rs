//! What this node remembers of its peers' stores: a store that was wiped or set back is recognised and refused.
//!
//! Identity, start and nonce are kept in a file, so that they outlive this process; what a peer acknowledged is kept in
//! memory, since only a leader that still counts on it must know.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use flotilla_model::NodeId;

use super::hello::Hello;
use crate::folder::{self, FolderError, Start};

#[derive(Clone, Debug, Default)]
struct Acknowledged {
    /// In this term the peer acknowledged entries up to this index.
    term: u64,
    index: u64,
    /// Up to here they are committed: no later leader can have removed them from the peer's log.
    committed: u64,
}

impl Acknowledged {
    fn take(&mut self, other: &Acknowledged) {
        if other.term > self.term {
            (self.term, self.index) = (other.term, other.index);
        } else if other.term == self.term {
            self.index = self.index.max(other.index);
        }
        self.committed = self.committed.max(other.committed);
    }
}

/// What one peer acknowledged. A hello may have been written before entries arrived by another connection: a start is judged by what
/// earlier ones acknowledged, for no log falls back while its process runs.
#[derive(Clone, Debug, Default)]
struct Log {
    earlier: Acknowledged,
    this_start: Acknowledged,
}

impl Log {
    fn all(&self) -> Acknowledged {
        let mut all = self.earlier.clone();
        all.take(&self.this_start);
        all
    }
}

#[derive(Default)]
struct Known {
    starts: BTreeMap<u64, Start>,
    logs: BTreeMap<u64, Log>,
}

pub struct PeerMemory {
    file: PathBuf,
    known: Mutex<Known>,
    /// Held by who writes the file; nobody else changes the starts.
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl Known {
    /// Whether the start that the peer shows is remembered already; why the peer is refused.
    fn judge(&self, hello: &Hello) -> Result<bool, String> {
        let node = hello.node.0;
        let seen = self.starts.get(&node);
        let started = seen.map_or(Ok(()), |seen| compare_starts(seen, &hello.start));
        let same = seen == Some(&hello.start);
        let acknowledged = self.logs.get(&node).map(|log| if same { log.earlier.clone() } else { log.all() });
        let judged = started.and_then(|()| acknowledged.map_or(Ok(()), |log| judge_log(&log, hello)));
        judged.map_err(|why| with_remedy(hello.node, &why))?;
        Ok(same)
    }
}

impl PeerMemory {
    pub fn open(file: &Path) -> Result<Self, FolderError> {
        let starts = folder::read_value(file)?.unwrap_or_default();
        let known = Known { starts, logs: BTreeMap::new() };
        Ok(PeerMemory { file: file.to_owned(), known: Mutex::new(known), writing: Arc::default() })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no panic while the peers' memory is locked")
    }

    /// Judges a peer's hello by what is known of it, and remembers a new start before anything else is said. The file is
    /// written on a thread that may wait, to its end also when this future is dropped.
    pub async fn meet(self: &Arc<Self>, hello: &Hello) -> Result<(), String> {
        if self.known().judge(hello)? {
            return Ok(());
        }
        let writing = Arc::clone(&self.writing).lock_owned().await;
        let (memory, hello) = (Arc::clone(self), hello.clone());
        let remembered = tokio::task::spawn_blocking(move || {
            let _writing = writing;
            memory.remember(&hello)
        });
        remembered.await.map_err(|error| format!("what is known of it cannot be written: {error}"))?
    }

    /// Judged again, since another connection may have been first. Known is only what stands in the file.
    fn remember(&self, hello: &Hello) -> Result<(), String> {
        let mut starts = {
            let known = self.known();
            if known.judge(hello)? {
                return Ok(());
            }
            known.starts.clone()
        };
        starts.insert(hello.node.0, hello.start.clone());
        folder::write_value(&self.file, &starts)
            .map_err(|error| format!("what is known of it cannot be written: {error}"))?;
        let mut known = self.known();
        known.starts = starts;
        let log = known.logs.entry(hello.node.0).or_default();
        *log = Log { earlier: log.all(), this_start: Acknowledged::default() };
        Ok(())
    }

    /// A peer acknowledged entries of this leader's term; `committed` is what the cluster has committed. An error if that was another
    /// start than the one known: the next one was let in without these entries, so they must not count.
    pub fn acknowledged(
        &self,
        node: NodeId,
        start: &Start,
        term: u64,
        index: u64,
        committed: u64,
    ) -> Result<(), String> {
        let mut known = self.known();
        if known.starts.get(&node.0) != Some(start) {
            return Err(format!("node {node} has another start than {}, which acknowledged {index}", start.counter));
        }
        let committed = committed.min(index);
        known.logs.entry(node.0).or_default().this_start.take(&Acknowledged { term, index, committed });
        Ok(())
    }
}

/// Judges a start that a peer's store shows by one that is known of it.
pub(super) fn judge_start(node: NodeId, seen: &Start, shown: &Start) -> Result<(), String> {
    compare_starts(seen, shown).map_err(|why| with_remedy(node, &why))
}

fn with_remedy(node: NodeId, why: &str) -> String {
    format!("{why}; remove the node (flotilla cluster remove {node}), and join it afresh with an empty data folder")
}

fn compare_starts(seen: &Start, shown: &Start) -> Result<(), String> {
    if seen.identity != shown.identity {
        return Err("its store has another identity than the one known: it was wiped or replaced".to_owned());
    }
    if seen.counter > shown.counter {
        return Err(format!(
            "its store shows start {}, but start {} is known: it was set back",
            shown.counter, seen.counter
        ));
    }
    if seen.counter == shown.counter && seen.nonce != shown.nonce {
        return Err(format!("its store shows a second start {}: it was set back or copied", shown.counter));
    }
    Ok(())
}

fn judge_log(acknowledged: &Acknowledged, hello: &Hello) -> Result<(), String> {
    if hello.last_index < acknowledged.committed {
        return Err(format!(
            "its log ends at {}, but it acknowledged {}, which is committed: it lost entries",
            hello.last_index, acknowledged.committed
        ));
    }
    if hello.vote_term < acknowledged.term {
        return Err(format!("its vote is of term {}, but it has voted in {}", hello.vote_term, acknowledged.term));
    }
    // In a later term a new leader may have removed what was not committed.
    if hello.vote_term == acknowledged.term && hello.last_index < acknowledged.index {
        return Err(format!("its log ends at {}, but it acknowledged {}", hello.last_index, acknowledged.index));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> (tempfile::TempDir, Arc<PeerMemory>) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let memory = PeerMemory::open(&dir.path().join("PEERS")).expect("an empty memory");
        (dir, Arc::new(memory))
    }

    fn start(counter: u64, nonce: u128) -> Start {
        Start { identity: 7, counter, nonce }
    }

    fn hello(identity: u128, counter: u64, nonce: u128, vote_term: u64, last_index: u64) -> Hello {
        let start = Start { identity, counter, nonce };
        Hello { rpc_version: 1, cluster_id: "c".into(), node: NodeId(2), start, vote_term, last_index, voucher: None }
    }

    #[tokio::test]
    async fn a_wiped_or_set_back_store_is_refused_also_after_a_restart() {
        let (dir, memory) = memory();
        memory.meet(&hello(7, 3, 30, 1, 0)).await.expect("the first meeting");
        let memory = Arc::new(PeerMemory::open(&dir.path().join("PEERS")).expect("the memory again"));
        assert!(memory.meet(&hello(8, 4, 40, 1, 0)).await.unwrap_err().contains("identity"));
        assert!(memory.meet(&hello(7, 2, 20, 1, 0)).await.unwrap_err().contains("set back"));
        assert!(memory.meet(&hello(7, 3, 31, 1, 0)).await.unwrap_err().contains("second start"));
        memory.meet(&hello(7, 3, 30, 1, 0)).await.expect("the same start again");
        memory.meet(&hello(7, 4, 40, 1, 0)).await.expect("a later start");
    }

    #[tokio::test]
    async fn a_log_that_lost_what_it_acknowledged_is_refused() {
        let (_dir, memory) = memory();
        memory.meet(&hello(7, 1, 1, 5, 0)).await.expect("the first meeting");
        memory.acknowledged(NodeId(2), &start(1, 1), 5, 100, 90).expect("its start");
        assert!(memory.meet(&hello(7, 2, 2, 6, 89)).await.unwrap_err().contains("lost entries"));
        assert!(memory.meet(&hello(7, 2, 2, 5, 99)).await.unwrap_err().contains("acknowledged 100"));
        assert!(memory.meet(&hello(7, 2, 2, 4, 100)).await.unwrap_err().contains("voted"));
        memory.meet(&hello(7, 2, 2, 6, 95)).await.expect("a later leader may have removed what was not committed");
        memory.meet(&hello(7, 2, 2, 5, 100)).await.expect("all that it acknowledged");
    }

    #[tokio::test]
    async fn a_hello_may_be_older_than_what_came_by_another_connection_but_not_than_an_earlier_start() {
        let (_dir, memory) = memory();
        memory.meet(&hello(7, 1, 1, 4, 0)).await.expect("the first connection");
        memory.acknowledged(NodeId(2), &start(1, 1), 5, 14, 14).expect("its start");
        memory
            .meet(&hello(7, 1, 1, 4, 0))
            .await
            .expect("a second one of the same start, whose hello was written before");
        assert!(memory.meet(&hello(7, 2, 2, 5, 13)).await.unwrap_err().contains("lost entries"));
        memory.meet(&hello(7, 2, 2, 5, 14)).await.expect("a later start with all that was acknowledged");
        assert!(memory.meet(&hello(7, 2, 2, 5, 13)).await.unwrap_err().contains("lost entries"));
    }

    /// It was read behind the next start's first hello, which had nothing to show for it.
    #[tokio::test]
    async fn what_an_earlier_start_acknowledged_does_not_count_once_the_next_is_known() {
        let (_dir, memory) = memory();
        memory.meet(&hello(7, 1, 1, 5, 10)).await.expect("the first start");
        memory.meet(&hello(7, 2, 2, 5, 10)).await.expect("the next one, whose log ends there");
        assert!(memory.acknowledged(NodeId(2), &start(1, 1), 5, 14, 14).unwrap_err().contains("another start than 1"));
        memory.meet(&hello(7, 2, 2, 5, 10)).await.expect("nothing was acknowledged");
        assert!(memory.acknowledged(NodeId(3), &start(1, 1), 5, 14, 14).is_err(), "nobody knows it");
        memory.acknowledged(NodeId(2), &start(2, 2), 5, 14, 14).expect("its start");
        assert!(memory.meet(&hello(7, 3, 3, 5, 13)).await.unwrap_err().contains("lost entries"));
    }

    #[tokio::test]
    async fn a_start_that_could_not_be_written_is_not_known() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = dir.path().join("later");
        let memory = Arc::new(PeerMemory::open(&folder.join("PEERS")).expect("an empty memory"));
        for connection in ["the first", "the second"] {
            let refused = memory.meet(&hello(7, 3, 30, 1, 0)).await;
            assert!(refused.is_err_and(|why| why.contains("cannot be written")), "{connection}");
        }
        std::fs::create_dir(&folder).expect("the folder");
        memory.meet(&hello(7, 3, 30, 1, 0)).await.expect("it can be written now");
    }

    #[tokio::test]
    async fn peers_that_are_met_at_once_are_all_known_afterwards() {
        let (dir, memory) = memory();
        let hellos: Vec<Hello> =
            (1..=20).map(|node| Hello { node: NodeId(node), ..hello(u128::from(node), 3, 30, 1, 0) }).collect();
        let met = futures::future::join_all(hellos.iter().map(|hello| memory.meet(hello))).await;
        assert!(met.iter().all(Result::is_ok), "{met:?}");
        let starts: BTreeMap<u64, Start> =
            folder::read_value(&dir.path().join("PEERS")).expect("the file").expect("it is there");
        assert_eq!(starts.len(), 20);
    }
}
