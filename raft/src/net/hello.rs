//! The hello: the first bytes on every connection, both ways, before Raft sees a message (`DESIGN.md` 6).
//!
//! Each side says who it is, which start of which store runs, and how far its log reaches. A side that knows better
//! (another identity, a later start, more acknowledged than is shown now) refuses, with the reason as text.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flotilla_model::NodeId;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

use super::memory::{PeerMemory, judge_start};
use super::tls;
use crate::folder::Start;
use crate::roster::{Rosters, Voucher};
use crate::store::Shown;

/// Versions of the calls that this program speaks.
const RPC_VERSION: u32 = 1;
/// A hello is some 100 bytes; an answer's text is bounded too.
const MAX: usize = 4 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub rpc_version: u32,
    pub cluster_id: String,
    pub node: NodeId,
    pub start: Start,
    /// Term of the durable vote and index of the last durable entry.
    pub vote_term: u64,
    pub last_index: u64,
    /// For those that have not heard of this node yet.
    pub voucher: Option<Voucher>,
}

/// What one side answers to the other's hello.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Answer {
    Welcome,
    Refused(String),
}

/// This node's side of every hello.
pub struct Introduction {
    pub cluster_id: String,
    pub node: NodeId,
    pub start: Start,
    pub log: Shown,
    pub memory: Arc<PeerMemory>,
    pub rosters: Arc<Rosters>,
    pub voucher: Option<Voucher>,
    /// The last peer that refused this node, and why. For people and `/readyz`.
    pub refused: watch::Sender<Option<String>>,
    pub told: Told,
}

/// Refusals are repeated many times a second; each is logged once until the peers are on terms again.
#[derive(Default)]
pub struct Told(Mutex<BTreeMap<NodeId, String>>);

impl Told {
    fn is_news(&self, peer: NodeId, why: &str) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(peer, why.to_owned()).as_deref() != Some(why)
    }

    fn forget(&self, peer: NodeId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
    }
}

impl Introduction {
    fn hello(&self) -> io::Result<Hello> {
        let closed = || io::Error::other("this node's store is closed");
        let (vote_term, last_index) = self.log.now().ok_or_else(closed)?;
        Ok(Hello {
            rpc_version: RPC_VERSION,
            cluster_id: self.cluster_id.clone(),
            node: self.node,
            start: self.start.clone(),
            vote_term,
            last_index,
            voucher: self.voucher.clone(),
        })
    }

    /// Exchanges hellos and answers with the peer that TLS has authenticated. Both sides run the same steps. Returns on whose
    /// word the peer was let in, if it is not known as a member.
    pub async fn exchange<S>(&self, stream: &mut S, peer: &tls::Shown, within: Duration) -> io::Result<Option<NodeId>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        timeout(within, self.steps(stream, peer)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn steps<S>(&self, stream: &mut S, peer: &tls::Shown) -> io::Result<Option<NodeId>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        send(stream, &self.hello()?).await?;
        let theirs: Hello = receive(stream, MAX).await?;
        let judged = self.judge(&theirs, peer).await;
        let answer = judged.as_ref().map_or_else(|why| Answer::Refused(why.clone()), |_| Answer::Welcome);
        send(stream, &answer).await?;
        let refused = |why: String| io::Error::new(io::ErrorKind::PermissionDenied, why);
        let vouched_by = match judged {
            Ok(vouched_by) => vouched_by,
            Err(why) => {
                if self.told.is_news(peer.node, &why) {
                    tracing::error!(event = "peer_refused", peer = peer.node.0, why, "refusing a peer");
                }
                // The peer's answer is read so that closing does not reset what was just sent.
                let _ = receive::<Answer>(stream, MAX).await;
                return Err(refused(why));
            }
        };
        match receive(stream, MAX).await? {
            Answer::Welcome => {
                self.told.forget(peer.node);
                self.refused
                    .send_if_modified(|refused| refused.take_if(|why| why.starts_with(&refusal(peer.node))).is_some());
                Ok(vouched_by)
            }
            Answer::Refused(why) => {
                let text = format!("{} {why}", refusal(peer.node));
                self.refused.send_replace(Some(text.clone()));
                if self.told.is_news(peer.node, &text) {
                    tracing::error!(event = "refused_by_peer", peer = peer.node.0, why, "a peer refuses this node");
                }
                Err(refused(text))
            }
        }
    }

    async fn judge(&self, theirs: &Hello, peer: &tls::Shown) -> Result<Option<NodeId>, String> {
        if theirs.rpc_version != RPC_VERSION {
            return Err(format!("it speaks version {} of the peer calls, not {RPC_VERSION}", theirs.rpc_version));
        }
        if theirs.cluster_id != self.cluster_id {
            return Err(format!("it belongs to cluster {}", theirs.cluster_id));
        }
        if theirs.node != peer.node {
            return Err(format!("it says that it is node {}, its certificate says {}", theirs.node, peer.node));
        }
        let vouched_by = self.rosters.admits(peer.node, &peer.public_key, theirs.voucher.as_ref())?;
        if let Some(known) = self.rosters.now().members.get(&peer.node).and_then(|member| member.start.clone()) {
            judge_start(peer.node, &known, &theirs.start)?;
        }
        self.memory.meet(theirs).await?;
        Ok(vouched_by)
    }
}

fn refusal(peer: NodeId) -> String {
    format!("node {peer} refuses this node:")
}

pub(super) async fn send<T: Serialize>(stream: &mut (impl AsyncWrite + Unpin), value: &T) -> io::Result<()> {
    let body = flotilla_model::codec::encode(value);
    stream.write_u32(body.len() as u32).await?;
    stream.write_all(&body).await?;
    stream.flush().await
}

pub(super) async fn receive<T: serde::de::DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
    most: usize,
) -> io::Result<T> {
    let length = stream.read_u32().await? as usize;
    if length > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    flotilla_model::codec::decode(&body).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
