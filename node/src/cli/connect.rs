//! A channel to one of the nodes, with the token on every call.

use std::sync::Arc;
use std::time::Duration;

use flotilla_proto::admin::v1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::Globals;
use super::failure::Failure;
use super::tls;

/// Begins the address of a node's local socket.
pub(super) const LOCAL: &str = "unix:";
const CONNECT: Duration = Duration::from_secs(3);
/// The node itself gives up after two waits for a quorum of 10 s.
const CALL: Duration = Duration::from_secs(30);

/// Absent where a client certificate speaks for the caller.
#[derive(Clone)]
pub(super) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

type Authenticated = InterceptedService<Channel, Bearer>;

/// Connected to a node; makes the clients of its services.
pub(super) struct Client {
    channel: Channel,
    bearer: Bearer,
    /// Of the one change that a verb makes.
    pub(super) request_id: String,
}

impl Client {
    pub(super) async fn connect(globals: &Globals) -> Result<Client, Failure> {
        let bearer = bearer(globals)?;
        let request_id = request_id(globals)?;
        let mut last = Failure::usage("--endpoint: no address given");
        for address in globals.endpoint.split(',').map(str::trim).filter(|address| !address.is_empty()) {
            match channel(address, globals).await {
                Ok(channel) => return Ok(Client { channel, bearer, request_id }),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    pub(super) fn users(&self) -> v1::users_client::UsersClient<Authenticated> {
        v1::users_client::UsersClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }
    pub(super) fn sessions(&self) -> v1::sessions_client::SessionsClient<Authenticated> {
        v1::sessions_client::SessionsClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }
    pub(super) fn quotas(&self) -> v1::quotas_client::QuotasClient<Authenticated> {
        v1::quotas_client::QuotasClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }
    pub(super) fn cluster(&self) -> v1::cluster_client::ClusterClient<Authenticated> {
        v1::cluster_client::ClusterClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }
    pub(super) fn admins(&self) -> v1::admins_client::AdminsClient<Authenticated> {
        v1::admins_client::AdminsClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }
    pub(super) fn groups(&self) -> v1::groups_client::GroupsClient<Authenticated> {
        v1::groups_client::GroupsClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }
    pub(super) fn folders(&self) -> v1::folders_client::FoldersClient<Authenticated> {
        v1::folders_client::FoldersClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }
    pub(super) fn roles(&self) -> v1::roles_client::RolesClient<Authenticated> {
        v1::roles_client::RolesClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }
    pub(super) fn events(&self) -> v1::events_client::EventsClient<Authenticated> {
        v1::events_client::EventsClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// The answer to a change, or how to ask again.
    pub(super) fn changed<T>(&self, answer: Result<tonic::Response<T>, Status>) -> Result<T, Failure> {
        answer.map(tonic::Response::into_inner).map_err(|status| Failure::of_change(status, &self.request_id))
    }

    pub(super) fn backups(&self) -> v1::backups_client::BackupsClient<Authenticated> {
        v1::backups_client::BackupsClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }
    pub(super) fn membership(&self) -> v1::membership_client::MembershipClient<Authenticated> {
        v1::membership_client::MembershipClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }
    pub(super) fn tokens(&self) -> v1::tokens_client::TokensClient<Authenticated> {
        v1::tokens_client::TokensClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }
}

async fn channel(address: &str, globals: &Globals) -> Result<Channel, Failure> {
    if let Some(path) = address.strip_prefix(LOCAL) {
        return local_channel(path).await;
    }
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let invalid = |error: String| Failure::usage(format!("--endpoint {address}: {error}"));
    let endpoint = Endpoint::from_shared(url).map_err(|error| invalid(error.to_string()))?;
    let secure = match endpoint.uri().scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(invalid("expected http:// or https://".into())),
    };
    let config = if secure { Some(tls::client_config(globals)?) } else { None };
    let endpoint = endpoint.connect_timeout(CONNECT).timeout(CALL);
    let connected = match config {
        None => endpoint.connect().await,
        Some(config) => endpoint.connect_with_connector(tower::service_fn(move |uri| dial(uri, config.clone()))).await,
    };
    connected.map_err(|error| Failure::other(format!("{address}: cannot be reached: {}", root_cause(&error))))
}

/// Through a node's data folder.
async fn local_channel(path: &str) -> Result<Channel, Failure> {
    let path = path.to_owned();
    let cannot = format!("{path}: cannot be reached");
    let dial = tower::service_fn(move |_: http::Uri| {
        let path = path.clone();
        async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://localhost").connect_timeout(CONNECT).timeout(CALL);
    let connected = endpoint.connect_with_connector(dial).await;
    connected.map_err(|error| Failure::other(format!("{cannot}: {}; does the node run?", root_cause(&error))))
}

/// TCP, then TLS.
async fn dial(uri: http::Uri, config: Arc<rustls::ClientConfig>) -> std::io::Result<TokioIo<TlsStream<TcpStream>>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let name = rustls::pki_types::ServerName::try_from(host.clone()).map_err(std::io::Error::other)?;
    let connect = async {
        let tcp = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(443))).await?;
        tcp.set_nodelay(true)?;
        tokio_rustls::TlsConnector::from(config).connect(name, tcp).await
    };
    let connected = tokio::time::timeout(CONNECT, connect).await;
    connected.map_err(|_| std::io::Error::other("no answer in time"))?.map(TokioIo::new)
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// From the file or the environment, never from an argument: arguments are seen by every user of the machine.
fn bearer(globals: &Globals) -> Result<Bearer, Failure> {
    if globals.token_file.is_none() && globals.endpoint.starts_with(LOCAL) {
        return Ok(Bearer(None));
    }
    let token = match &globals.token_file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("--token-file {}: {error}", path.display())))?,
        None => match std::env::var("FLOTILLA_TOKEN") {
            Ok(token) => token,
            Err(_) if globals.cert.is_some() => return Ok(Bearer(None)),
            Err(_) => {
                let text = "an admin token is needed: --token-file FILE or the variable FLOTILLA_TOKEN";
                return Err(Failure::usage(format!("{text}; or --cert and --key where nodes take them")));
            }
        },
    };
    let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.trim())
        .parse()
        .map_err(|_| Failure::usage("the admin token holds characters that no token has"))?;
    value.set_sensitive(true);
    Ok(Bearer(Some(value)))
}

fn request_id(globals: &Globals) -> Result<String, Failure> {
    match &globals.request_id {
        None => Ok(uuid::Uuid::now_v7().to_string()),
        Some(given) => match uuid::Uuid::try_parse(given) {
            Ok(id) if id.get_version_num() == 7 => Ok(id.to_string()),
            _ => Err(Failure::usage(format!("--request-id {given}: not a UUIDv7"))),
        },
    }
}
