//! A listener with an admin token, and ways to talk to it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use flotilla_api::{ApiServer, Config, HostKeyView, Readiness, Service, Tls, Vault};
use flotilla_cluster::Cluster as _;
use flotilla_model::command::{CloseSession, OpenSession, PutSecret, PutToken, ResealSecrets};
use flotilla_model::{Command, Done, SessionId, StorageName, Username};
use flotilla_proto::admin::v1;
use metrics_exporter_prometheus::PrometheusBuilder;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::cluster::Switched;

pub const ROOT: &str = "root-token";
/// Holds no permission that any verb asks for.
pub const POWERLESS: &str = "powerless-token";

#[derive(Default)]
pub struct Reasons(pub Mutex<Vec<String>>);

impl Readiness for Reasons {
    fn reasons(&self) -> Vec<String> {
        self.0.lock().expect("no panic while held").clone()
    }
}

/// A keyholder whose keys are words.
struct Keys;

#[async_trait::async_trait]
impl Vault for Keys {
    fn ca_fingerprint(&self) -> [u8; 32] {
        [7; 32]
    }
    fn host_keys(&self) -> Result<Vec<HostKeyView>, String> {
        Ok(Vec::new())
    }
    fn new_host_keys(&self) -> Result<(Command, Vec<HostKeyView>), String> {
        let put = PutSecret { name: "host-keys".into(), expected_revision: None, sealed: vec![1] };
        Ok((Command::PutSecret(put), Vec::new()))
    }
    async fn rotate_cluster_key(&self) -> Result<Command, String> {
        Ok(Command::ResealSecrets(ResealSecrets { secrets: Vec::new() }))
    }
}

pub struct Server {
    pub cluster: Arc<Switched>,
    pub readiness: Arc<Reasons>,
    pub address: SocketAddr,
    pub channel: Channel,
    pub running: tokio::task::JoinHandle<std::io::Result<()>>,
    pub stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Authenticated = InterceptedService<Channel, Bearer>;

pub async fn bind(
    cluster: Arc<Switched>,
    listen: SocketAddr,
    tls: Option<Arc<Tls>>,
) -> std::io::Result<(ApiServer, Arc<Reasons>)> {
    let storages = vec![
        (StorageName::parse("files").expect("a name"), "/srv/files".into()),
        (StorageName::parse("cold").expect("a name"), "/srv/files/cold".into()),
    ];
    let service = Arc::new(Service::new(cluster, storages).with_vault(Arc::new(Keys)));
    let readiness = Arc::new(Reasons::default());
    let config = Config { listen, tls, health: None, local: None };
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    Ok((ApiServer::bind(config, service, readiness.clone(), metrics).await?, readiness))
}

impl Server {
    pub async fn start() -> Server {
        Server::start_on(([127, 0, 0, 1], 0).into(), None).await
    }

    pub async fn start_on(listen: SocketAddr, tls: Option<Arc<Tls>>) -> Server {
        let server = Server::without_tokens(listen, tls).await;
        for (name, text, permission) in [("root", ROOT, "*"), ("powerless", POWERLESS, "manage_folders")] {
            let token = PutToken {
                name: name.into(),
                hash: Sha256::digest(text).into(),
                permissions: vec![permission.into()],
                expires_at: 0,
                replace: false,
            };
            server.cluster.local.apply(Command::PutToken(token)).reply.expect("a token");
        }
        server
    }

    /// On a cluster that nobody has set up yet.
    pub async fn without_tokens(listen: SocketAddr, tls: Option<Arc<Tls>>) -> Server {
        let cluster = Switched::start();
        let (server, readiness) = bind(Arc::clone(&cluster), listen, tls).await.expect("a free port");
        let address = server.address().expect("bound");
        let stop = CancellationToken::new();
        let running = tokio::spawn(server.run(stop.clone()));
        let channel = Channel::from_shared(format!("http://{address}")).expect("an address").connect_lazy();
        Server { cluster, readiness, address, channel, running, stop }
    }

    /// Makes a token with a text and permissions, named like its text.
    pub fn token(&self, text: &str, permissions: &[&str]) {
        let token = PutToken {
            name: format!("token {text}"),
            hash: Sha256::digest(text).into(),
            permissions: permissions.iter().map(|name| (*name).to_owned()).collect(),
            expires_at: 0,
            replace: false,
        };
        self.cluster.local.apply(Command::PutToken(token)).reply.expect("a token");
    }

    fn bearer(&self) -> Bearer {
        Bearer(format!("Bearer {ROOT}").parse().expect("ASCII"))
    }
    pub fn users(&self) -> v1::users_client::UsersClient<Authenticated> {
        v1::users_client::UsersClient::with_interceptor(self.channel.clone(), self.bearer())
    }
    pub fn sessions(&self) -> v1::sessions_client::SessionsClient<Authenticated> {
        v1::sessions_client::SessionsClient::with_interceptor(self.channel.clone(), self.bearer())
    }
    pub fn quotas(&self) -> v1::quotas_client::QuotasClient<Authenticated> {
        v1::quotas_client::QuotasClient::with_interceptor(self.channel.clone(), self.bearer())
    }
    pub fn status(&self) -> v1::cluster_client::ClusterClient<Authenticated> {
        v1::cluster_client::ClusterClient::with_interceptor(self.channel.clone(), self.bearer())
    }
    pub fn tokens(&self) -> v1::tokens_client::TokensClient<Authenticated> {
        v1::tokens_client::TokensClient::with_interceptor(self.channel.clone(), self.bearer())
    }

    pub fn admins(&self) -> v1::admins_client::AdminsClient<Authenticated> {
        v1::admins_client::AdminsClient::with_interceptor(self.channel.clone(), self.bearer())
    }
    pub fn groups(&self) -> v1::groups_client::GroupsClient<Authenticated> {
        v1::groups_client::GroupsClient::with_interceptor(self.channel.clone(), self.bearer())
    }
    pub fn folders(&self) -> v1::folders_client::FoldersClient<Authenticated> {
        v1::folders_client::FoldersClient::with_interceptor(self.channel.clone(), self.bearer())
    }
    pub fn roles(&self) -> v1::roles_client::RolesClient<Authenticated> {
        v1::roles_client::RolesClient::with_interceptor(self.channel.clone(), self.bearer())
    }
    pub fn backups(&self) -> v1::backups_client::BackupsClient<Authenticated> {
        v1::backups_client::BackupsClient::with_interceptor(self.channel.clone(), self.bearer())
    }
    pub fn membership(&self) -> v1::membership_client::MembershipClient<Authenticated> {
        v1::membership_client::MembershipClient::with_interceptor(self.channel.clone(), self.bearer())
    }
    pub fn events(&self) -> v1::events_client::EventsClient<Authenticated> {
        v1::events_client::EventsClient::with_interceptor(self.channel.clone(), self.bearer())
    }

    /// Creates a user over gRPC.
    pub async fn add(&self, username: &str) -> v1::User {
        let request = v1::CreateUserRequest { user: Some(user(username)), ..Default::default() };
        self.users().create_user(request).await.expect("created").into_inner().user.expect("the record")
    }

    /// The end of a session, as its front end would propose it.
    pub fn close(&self, session: SessionId) {
        let id = self.cluster.lease().expect("a lease").number();
        let close = Command::CloseSession(CloseSession {
            session,
            reason: "the client left".into(),
            bytes_uploaded: 0,
            bytes_downloaded: 0,
        });
        self.cluster.local.apply_as(id, "node 1", close).reply.expect("closed");
    }

    /// A login of the user, as a front end would propose it.
    pub fn log_in(&self, username: &str) -> SessionId {
        let name = Username::parse(username).expect("a name");
        let state = self.cluster.state();
        let user = state.user(&name).expect("the user").clone();
        let open = OpenSession {
            username: name,
            incarnation: user.incarnation,
            credential_revision: user.credential_revision,
            remote: "192.0.2.7:50000".into(),
            protocol: "SFTP".into(),
            method: "password".into(),
            ahead: flotilla_model::Amount::ZERO,
        };
        let id = self.cluster.lease().expect("a lease").number();
        match self.cluster.local.apply_as(id, "node 1", Command::OpenSession(open)).reply {
            Ok(Done::Opened { session }) => session,
            other => panic!("not opened: {other:?}"),
        }
    }
}

/// Without a password: hashing costs.
pub fn user(username: &str) -> v1::User {
    v1::User {
        username: username.into(),
        permissions: [("/".into(), v1::Permissions { names: vec!["*".into()] })].into(),
        ..Default::default()
    }
}
