//! The desk of a real node: a cluster of one, and a second that joined and does not answer.

use flotilla_raft::RaftNode;

use super::*;
use crate::bootstrap::{Bootstrap, FIRST_TOKEN};
use crate::config::Config;
use crate::init::{First, found};

const SECRET: &[u8] = b"the secret of a join token";
const CLUSTER: &str = "6f1ed002-0000-4000-8000-000000000001";

struct Founder {
    desk: NodeDesk,
    raft: RaftNode,
    _folder: tempfile::TempDir,
}

impl Founder {
    async fn start() -> Founder {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "node.data = {:?}\npeers.listen = \"127.0.0.1:0\"\nstorage = []\n[[sftp.listen]]\naddress = \"127.0.0.1:0\"\n",
            folder.path().join("data")
        );
        let config: Config = toml::from_str(&text).unwrap();
        let first = First {
            token_name: FIRST_TOKEN.into(),
            token: "t".into(),
            demo: None,
            join_tokens: vec![Sha256::digest(SECRET).into()],
        };
        found(&config, CLUSTER, first).unwrap();
        let identity = Arc::new(Identity::open(&config.node.data).unwrap());
        let raft_config = crate::serve::raft_config(&config, &identity).unwrap();
        let (raft, handle) = RaftNode::start(raft_config).await.unwrap();
        let cluster: Arc<dyn Cluster> = Arc::new(handle.clone());
        Bootstrap::once(&identity.bootstrap_file(), &cluster).await.unwrap();
        let keyring = Arc::new(identity.keyring().unwrap());
        let ca_fingerprint = pki::fingerprint(&identity.ca_pem).unwrap();
        let certificate_life = Duration::from_secs(3_600);
        Founder {
            desk: NodeDesk { handle, identity, keyring, certificate_life, ca_fingerprint },
            raft,
            _folder: folder,
        }
    }

    async fn join(&self, secret: &[u8], public_key: &[u8]) -> JoinAnswer {
        let request = JoinRequest {
            version: JOIN_VERSION,
            cluster_id: CLUSTER.into(),
            secret: secret.to_vec(),
            public_key: public_key.to_vec(),
            name: "stranger".into(),
            peer_address: "127.0.0.1:1".into(),
            admin_address: String::new(),
            sftp_address: String::new(),
            wall_ms: wall_ms(),
            program: "test".into(),
        };
        self.desk.join(request).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_refused_and_leaves_nothing_in_the_log() {
    const TRIES: u64 = 60;
    let founder = Founder::start().await;
    let public_key = pki::public_key(&pki::make_key().unwrap()).unwrap();
    let before = founder.desk.handle.status().last_log_index;
    for attempt in 0..TRIES {
        match founder.join(&attempt.to_le_bytes(), &public_key).await {
            JoinAnswer::Refused { why, again: false } => assert!(why.contains("join token"), "{why}"),
            _ => panic!("try {attempt} was not refused for good"),
        }
    }
    // The node's own renewals come every few seconds.
    let written = founder.desk.handle.status().last_log_index - before;
    assert!(written < TRIES, "{written} entries for {TRIES} wrong secrets");
    assert!(matches!(founder.join(SECRET, &public_key).await, JoinAnswer::Welcome(_)), "the right one lets in");
    founder.raft.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_key_that_no_majority_has_does_not_come_into_use() {
    let founder = Founder::start().await;
    let keys = founder.desk.keyring.text();
    founder.desk.new_key_for_all().await.unwrap();
    let alone = founder.desk.keyring.text();
    assert_ne!(alone, keys, "the only member is a majority");

    let public_key = pki::public_key(&pki::make_key().unwrap()).unwrap();
    assert!(matches!(founder.join(SECRET, &public_key).await, JoinAnswer::Welcome(_)));
    let mut applied = founder.desk.handle.applied();
    while founder.desk.handle.roster().members.len() < 2 {
        applied.changed().await.unwrap();
    }
    let error = founder.desk.new_key_for_all().await.unwrap_err();
    assert!(error.to_string().contains("only 1 of 2 members"), "{error:#}");
    assert_eq!(founder.desk.keyring.text(), alone, "this node goes on sealing with the key that all have");
    founder.raft.shutdown().await;
}
