//! What a node does with what arrives: hands it to its core and sends the answer back.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flotilla_raft::testing::simulation::{Core, SnapshotFile};
use futures::StreamExt;
use openraft::storage::Snapshot;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::net::{Answer, Net, Packet, Question};

pub struct Delivery<'a> {
    pub id: u64,
    pub net: Net,
    pub core: Option<Core>,
    pub snapshots: &'a Arc<AtomicU64>,
    pub dir: &'a Path,
}

impl Delivery<'_> {
    pub fn take(&self, packet: Packet) {
        let asks = matches!(packet, Packet::Ask { .. } | Packet::StreamAsk { .. });
        match (&self.core, packet) {
            (None, packet) if asks => self.net.refuse(self.id, packet),
            (Some(core), Packet::Ask { from, call, question }) => {
                let file = SnapshotFile::receiving(
                    &self.dir.join(format!("snapshots{}", self.id)),
                    self.snapshots.fetch_add(1, Ordering::Relaxed),
                );
                let (net, id, core) = (self.net.clone(), self.id, core.clone());
                tokio::spawn(async move {
                    let answer = answer(core, question, file).await;
                    net.reply(id, from, call, answer);
                });
            }
            (Some(core), packet @ Packet::StreamAsk { .. }) => {
                if let Some((from, stream, requests)) = self.net.stream_arrived(self.id, packet) {
                    let (net, id) = (self.net.clone(), self.id);
                    let mut answers = Box::pin(core.raft.stream_append(UnboundedReceiverStream::new(requests)));
                    tokio::spawn(async move {
                        let mut number = 0;
                        while let Some(Ok(result)) = answers.next().await {
                            net.stream_reply(id, from, stream, number, result);
                            number += 1;
                        }
                        net.stream_ended(id, from, stream);
                    });
                }
            }
            (_, packet) => self.net.take(packet),
        }
    }
}

async fn answer(core: Core, question: Question, file: SnapshotFile) -> Answer {
    fn of<T, E: std::fmt::Display>(result: Result<T, E>, answer: impl FnOnce(T) -> Answer) -> Answer {
        result.map_or_else(|error| Answer::Failed(error.to_string()), answer)
    }
    match question {
        Question::Append(request) => of(core.raft.append_entries(request).await, Answer::Append),
        Question::Vote(request) => of(core.raft.vote(request).await, Answer::Vote),
        Question::PreVote(request) => of(core.raft.pre_vote(request).await, Answer::Vote),
        Question::Transfer(request) => of(core.raft.handle_transfer_leader(request).await, Answer::Transfer),
        Question::Snapshot(vote, meta, bytes) => {
            if let Err(error) = std::fs::write(&file.path, &bytes) {
                return Answer::Failed(error.to_string());
            }
            let snapshot = Snapshot { meta, snapshot: file };
            of(core.raft.install_full_snapshot(vote, snapshot).await, Answer::Snapshot)
        }
        Question::Propose(group) => Answer::Proposed(core.propose(group).await),
        Question::Renew(renewal) => Answer::Renewed(core.renew(renewal)),
        Question::ReadIndex => Answer::ReadIndex(core.read_index().await),
    }
}
