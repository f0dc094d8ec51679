//! The admin listener with TLS: who is let in, what new certificates change, and that a slow caller holds nothing up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use flotilla_api::{Material, Tls};
use flotilla_cluster::Cluster as _;
use flotilla_model::Command;
use flotilla_model::command::DeleteToken;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::fixture::{ROOT, Server};

pub struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub fn new(name: &str) -> Ca {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("signed").pem();
        Ca { issuer: Issuer::from_ca_cert_pem(&pem, key).expect("a CA"), pem }
    }

    /// Certificate and key; the name is the common name and, for servers, the DNS name.
    pub fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.issuer).expect("signed").pem(), key.serialize_pem())
    }

    pub fn material(&self, clients: Option<&Ca>, require_client: bool) -> Material {
        let (chain_pem, key_pem) = self.sign("admin.test");
        Material { chain_pem, key_pem, client_ca_pem: clients.map(|ca| ca.pem.clone()), require_client }
    }
}

pub async fn connect(
    address: SocketAddr,
    ca: &Ca,
    own: Option<(String, String)>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem.as_bytes()).expect("PEM")).expect("a CA");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let config = match own {
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
        None => builder.with_no_client_auth(),
    };
    let tcp = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("admin.test").expect("a name"), tcp).await
}

/// Status of a GET over an open connection.
async fn get(io: TlsStream<TcpStream>, path: &str, token: Option<&str>) -> Result<StatusCode, hyper::Error> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    tokio::spawn(connection);
    let mut request = http::Request::get(path).header("host", "admin.test");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = sender.send_request(request.body(Empty::<bytes::Bytes>::new()).expect("a request")).await?;
    let status = response.status();
    response.into_body().collect().await?;
    Ok(status)
}

const USERS: &str = "/api/v2/users";

#[tokio::test]
async fn with_tls_it_listens_anywhere_and_serves_tokens_over_it() {
    let ca = Ca::new("ca");
    let tls = Tls::new(&ca.material(None, false)).expect("TLS");
    let server = Server::start_on(([0, 0, 0, 0], 0).into(), Some(tls)).await;
    let io = connect(server.address, &ca, None).await.expect("TLS");
    assert_eq!(get(io, USERS, Some(ROOT)).await.expect("an answer"), StatusCode::OK);
    let io = connect(server.address, &ca, None).await.expect("TLS");
    assert_eq!(get(io, USERS, None).await.expect("an answer"), StatusCode::UNAUTHORIZED);
    // Whoever speaks plainly gets no answer in words.
    let mut plain = TcpStream::connect(server.address).await.expect("TCP");
    plain.write_all(b"GET /livez HTTP/1.1\r\n\r\n").await.expect("written");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert!(connect(server.address, &Ca::new("other"), None).await.is_err(), "another CA is not believed");
}

#[tokio::test]
async fn client_certificate_speaks_for_the_record_of_its_name_until_that_is_gone() {
    let (ca, clients) = (Ca::new("ca"), Ca::new("clients"));
    let tls = Tls::new(&ca.material(Some(&clients), false)).expect("TLS");
    let server = Server::start_on(([127, 0, 0, 1], 0).into(), Some(tls)).await;
    let ask = async |own: (String, String)| match connect(server.address, &ca, Some(own)).await {
        Ok(io) => get(io, USERS, None).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    assert_eq!(ask(clients.sign("root")).await, Ok(StatusCode::OK));
    assert_eq!(ask(clients.sign("powerless")).await, Ok(StatusCode::FORBIDDEN));
    assert_eq!(ask(clients.sign("nobody")).await, Ok(StatusCode::UNAUTHORIZED));
    assert!(ask(ca.sign("root")).await.is_err(), "the listener's own CA signs no clients");
    let gone = Command::DeleteToken(DeleteToken { name: "root".into(), expected_revision: None });
    server.cluster.local.apply(gone).reply.expect("deleted");
    assert_eq!(ask(clients.sign("root")).await, Ok(StatusCode::UNAUTHORIZED));
    assert!(server.cluster.state().tokens().all(|row| row.name != "root"));
}

#[tokio::test]
async fn required_client_certificate_is_required() {
    let (ca, clients) = (Ca::new("ca"), Ca::new("clients"));
    let tls = Tls::new(&ca.material(Some(&clients), true)).expect("TLS");
    let server = Server::start_on(([127, 0, 0, 1], 0).into(), Some(tls)).await;
    let without = async {
        let io = connect(server.address, &ca, None).await.map_err(|error| error.to_string())?;
        get(io, USERS, Some(ROOT)).await.map_err(|error| error.to_string())
    };
    assert!(without.await.is_err());
    let io = connect(server.address, &ca, Some(clients.sign("root"))).await.expect("TLS");
    assert_eq!(get(io, USERS, None).await.expect("an answer"), StatusCode::OK);
}

#[tokio::test]
async fn replaced_certificate_is_shown_to_new_connections_and_a_wrong_one_changes_nothing() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let tls = Tls::new(&old.material(None, false)).expect("TLS");
    let server = Server::start_on(([127, 0, 0, 1], 0).into(), Some(Arc::clone(&tls))).await;
    let before = connect(server.address, &old, None).await.expect("TLS");
    let mismatched = Material { key_pem: new.sign("x").1, ..old.material(None, false) };
    assert!(tls.replace(&mismatched).is_err(), "a key of another certificate");
    assert!(tls.replace(&Material { chain_pem: String::new(), ..old.material(None, false) }).is_err());
    connect(server.address, &old, None).await.expect("nothing changed");
    tls.replace(&new.material(None, false)).expect("replaced");
    connect(server.address, &new, None).await.expect("the new certificate");
    assert!(connect(server.address, &old, None).await.is_err(), "the old one is not shown any more");
    assert_eq!(get(before, USERS, Some(ROOT)).await.expect("goes on"), StatusCode::OK);
}

#[tokio::test]
async fn a_caller_that_says_nothing_does_not_hold_up_a_stop() {
    let ca = Ca::new("ca");
    let tls = Tls::new(&ca.material(None, false)).expect("TLS");
    for tls in [None, Some(tls)] {
        let mut server = Server::start_on(([127, 0, 0, 1], 0).into(), tls.clone()).await;
        let silent = match tls {
            None => Silent::Plain(TcpStream::connect(server.address).await.expect("TCP")),
            Some(_) => Silent::Tls(Box::new(connect(server.address, &ca, None).await.expect("TLS"))),
        };
        server.stop.cancel();
        let stopped = tokio::time::timeout(Duration::from_secs(60), &mut server.running).await;
        stopped.expect("in time").expect("no panic").expect("no error");
        match silent {
            Silent::Plain(mut io) => assert_eq!(io.read(&mut [0; 1]).await.unwrap_or(0), 0),
            Silent::Tls(mut io) => assert_eq!(io.read(&mut [0; 1]).await.unwrap_or(0), 0),
        }
    }
}

enum Silent {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}
