//! `Join`: the one call that is served without a client certificate. One frame each way, on a connection of its own.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use flotilla_model::NodeId;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::hello::{receive, send};
use super::tls;
use crate::roster::{Roster, Voucher};

/// Versions of the call that this program speaks.
pub const VERSION: u32 = 1;
const REQUEST_MAX: usize = 8 << 10;
const ANSWER_MAX: usize = 256 << 10;
/// A request comes at once; its answer waits for an election and a commit.
const REQUEST_WITHIN: Duration = Duration::from_secs(3);
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// What a machine says that wants to become a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    pub version: u32,
    pub cluster_id: String,
    /// The token's secret. It is the only thing that lets in.
    pub secret: Vec<u8>,
    /// DER SubjectPublicKeyInfo of the key that the machine has made.
    pub public_key: Vec<u8>,
    pub name: String,
    /// `host:port` at which the others reach it.
    pub peer_address: String,
    pub admin_address: String,
    pub sftp_address: String,
    /// Its wall clock, ms since 1970.
    pub wall_ms: u64,
    pub program: String,
}

/// What a new node needs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub node: NodeId,
    pub certificate_pem: String,
    pub ca_pem: String,
    /// The cluster key as it stands in its file.
    pub cluster_key: String,
    pub roster: Roster,
    /// For members that have not heard of the node yet.
    pub voucher: Voucher,
    /// What the operator should know: for instance why the node stays a learner.
    pub notes: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinAnswer {
    Welcome(Box<Welcome>),
    /// Why not, and what to do. `again`: the same request may succeed later, or through another node.
    Refused {
        why: String,
        again: bool,
    },
}

/// The part of a node that answers for the cluster's secrets. Handed over once they are open.
#[async_trait]
pub trait Desk: Send + Sync + 'static {
    async fn join(&self, request: JoinRequest) -> JoinAnswer;
    /// Keeps a cluster key that another member has made.
    fn keep_key(&self, key: &str) -> Result<(), String>;
    /// All cluster keys that this node has, a line each.
    fn keys(&self) -> String;
}

/// Where the desk will stand.
pub type DeskSlot = Arc<OnceLock<Arc<dyn Desk>>>;

/// Reads one request, answers it.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, desk: &DeskSlot) -> io::Result<()> {
    let request = timeout(REQUEST_WITHIN, receive(stream, REQUEST_MAX)).await??;
    let answer = match desk.get() {
        None => refused("this node is starting: try again in a moment", true),
        Some(desk) => {
            let asked = timeout(ANSWER_WITHIN, desk.join(request)).await;
            asked.unwrap_or_else(|_| refused("no quorum answered in time: try again", true))
        }
    };
    timeout(REQUEST_WITHIN, send(stream, &answer)).await??;
    stream.shutdown().await
}

fn refused(why: &str, again: bool) -> JoinAnswer {
    JoinAnswer::Refused { why: why.to_owned(), again }
}

/// Why a join has no answer of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("{address}: cannot be reached: {why}")]
    Unreachable { address: String, why: String },
    #[error(
        "{address}: what answers there is not the cluster of this token (its CA has another fingerprint): \
         check the address, or make a token on that cluster"
    )]
    OtherCluster { address: String },
    #[error("{address}: {why}")]
    Broken { address: String, why: String },
}

/// Asks a node of the cluster whose CA has this fingerprint.
pub async fn join(address: &str, ca_fingerprint: [u8; 32], request: &JoinRequest) -> Result<JoinAnswer, JoinError> {
    let unreachable = |why: String| JoinError::Unreachable { address: address.to_owned(), why };
    let broken = |why: String| JoinError::Broken { address: address.to_owned(), why };
    let (connector, name) = tls::join_connector(ca_fingerprint).map_err(|error| broken(error.to_string()))?;
    let tcp = timeout(CONNECT_WITHIN, TcpStream::connect(address)).await;
    let tcp = tcp.map_err(|_| unreachable("no answer within 5 s".to_owned()))?;
    let tcp = tcp.map_err(|error| unreachable(error.to_string()))?;
    let connected = timeout(CONNECT_WITHIN, connector.connect(name, tcp)).await;
    let connected = connected.map_err(|_| unreachable("no TLS handshake within 5 s".to_owned()))?;
    let mut stream = connected.map_err(|error| {
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if tls == Some(&unknown) {
            JoinError::OtherCluster { address: address.to_owned() }
        } else {
            broken(error.to_string())
        }
    })?;
    let asking = async {
        send(&mut stream, request).await?;
        receive(&mut stream, ANSWER_MAX).await
    };
    let answer = timeout(ANSWER_WITHIN + REQUEST_WITHIN, asking).await;
    answer.map_err(|_| broken("no answer in time".to_owned()))?.map_err(|error| broken(error.to_string()))
}
