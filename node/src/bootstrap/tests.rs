//! What the founder does when the others do not answer: an in-memory cluster whose quorum can be taken away.

use async_trait::async_trait;
use flotilla_cluster::{
    Agent, Lease, LocalCluster, ProbeAnswer, Status as ClusterStatus, SubmitError, Submitted, Unavailable,
};
use flotilla_model::{LogIndex, NodeId, SessionId, State};
use tokio::sync::watch;

use super::*;

/// Without a quorum: nothing is submitted, no read is answered; what others write is still applied here.
struct Alone(Arc<LocalCluster>);

#[async_trait]
impl Cluster for Alone {
    fn node(&self) -> NodeId {
        self.0.node()
    }
    fn state(&self) -> Arc<State> {
        self.0.state()
    }
    fn applied(&self) -> watch::Receiver<LogIndex> {
        self.0.applied()
    }
    fn lease(&self) -> Option<Arc<Lease>> {
        self.0.lease()
    }
    fn lease_changes(&self) -> watch::Receiver<Option<Arc<Lease>>> {
        self.0.lease_changes()
    }
    async fn submit(&self, _: CommandId, _: &str, _: Command, _: Duration) -> Result<Submitted, SubmitError> {
        Err(SubmitError::Unavailable("alone".into()))
    }
    async fn barrier(&self, deadline: Duration) -> Result<LogIndex, Unavailable> {
        tokio::time::sleep(deadline).await;
        Err(Unavailable("alone".into()))
    }
    fn status(&self) -> ClusterStatus {
        self.0.status()
    }
    fn set_agent(&self, agent: Arc<dyn Agent>) {
        self.0.set_agent(agent);
    }
    async fn cuts_effective(&self, nodes: &[NodeId], _: LogIndex, _: Duration) -> Vec<NodeId> {
        nodes.to_vec()
    }
    async fn probe(&self, _: NodeId, _: Vec<SessionId>) -> Option<Vec<ProbeAnswer>> {
        None
    }
}

fn first_words() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bootstrap.json");
    let words = Bootstrap {
        token_name: FIRST_TOKEN.into(),
        token_sha256: hex(&[7; 32]),
        demo: None,
        join_tokens: Vec::new(),
        secrets: vec![(CA_KEY.into(), hex(b"ca")), (HOST_KEYS.into(), hex(b"keys"))],
    };
    std::fs::write(&file, serde_json::to_string(&words).unwrap()).unwrap();
    (folder, file)
}

fn host_keys() -> Command {
    Command::PutSecret(PutSecret { name: HOST_KEYS.into(), expected_revision: Some(0), sealed: vec![1] })
}

#[tokio::test]
async fn a_new_cluster_is_told_once() {
    let (_folder, file) = first_words();
    let cluster: Arc<dyn Cluster> = LocalCluster::start();
    Bootstrap::once(&file, &cluster).await.unwrap();
    let state = cluster.state();
    assert!(state.token_by_hash(&[7; 32]).is_some_and(|token| token.name == FIRST_TOKEN));
    assert_eq!(state.secret(HOST_KEYS).unwrap().sealed, b"keys");
    assert!(!file.exists(), "what was said is not said again");
    Bootstrap::once(&file, &cluster).await.unwrap();
}

#[tokio::test]
async fn a_founder_that_starts_alone_in_its_own_cluster_waits_for_nobody() {
    let (_folder, file) = first_words();
    let local = LocalCluster::start();
    local.apply(host_keys()).reply.unwrap();
    let cluster: Arc<dyn Cluster> = Arc::new(Alone(local));
    Bootstrap::once(&file, &cluster).await.unwrap();
    assert!(!file.exists());
}

#[tokio::test(start_paused = true)]
async fn a_founder_that_cannot_tell_waits_until_the_others_are_back() {
    let (_folder, file) = first_words();
    let local = LocalCluster::start();
    let cluster: Arc<dyn Cluster> = Arc::new(Alone(Arc::clone(&local)));
    let once = Bootstrap::once(&file, &cluster);
    tokio::pin!(once);
    let day = tokio::time::timeout(Duration::from_secs(86_400), &mut once).await;
    assert!(day.is_err(), "it neither gives up nor says anything: {day:?}");
    assert!(file.exists());
    local.apply(host_keys()).reply.unwrap();
    once.await.unwrap();
    assert!(!file.exists());
}
