//! TLS between nodes: both sides show a certificate of the cluster's CA, and its URI says which node speaks.

use std::sync::Arc;

use flotilla_model::NodeId;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::pki;

/// Why peer TLS could not be set up or a peer is not who it should be.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("certificate or key: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("tls: {0}")]
    Rustls(#[from] rustls::Error),
    #[error("tls: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    #[error("the peer showed no certificate of a node of this cluster")]
    NotAMember,
}

/// Both sides' settings.
#[derive(Clone)]
pub struct Tls {
    cluster_id: String,
    pub acceptor: TlsAcceptor,
    pub connector: TlsConnector,
}

impl Tls {
    pub fn new(cluster_id: &str, ca_pem: &str, certificate_pem: &str, key_pem: &str) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
            roots.add(certificate?)?;
        }
        let chain = CertificateDer::pem_slice_iter(certificate_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = Arc::new(roots);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build()?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())?;
        server.alpn_protocols = vec![b"h2".to_vec()];
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        client.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Tls {
            cluster_id: cluster_id.to_owned(),
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
        })
    }

    pub fn server_name(node: NodeId) -> ServerName<'static> {
        ServerName::try_from(pki::node_dns(node.0)).expect("the name is a valid DNS name")
    }

    /// The node that the peer's certificate names, if it is one of this cluster.
    pub fn peer(&self, certificates: Option<&[CertificateDer<'_>]>) -> Result<NodeId, TlsError> {
        let leaf = certificates.and_then(<[_]>::first).ok_or(TlsError::NotAMember)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|_| TlsError::NotAMember)?;
        let names = parsed.subject_alternative_name().ok().flatten().ok_or(TlsError::NotAMember)?;
        let prefix = pki::node_uri(&self.cluster_id, 0);
        let prefix = prefix.strip_suffix('0').expect("it ends with the number just given");
        let uri = names.value.general_names.iter().find_map(|name| match name {
            x509_parser::extensions::GeneralName::URI(uri) => uri.strip_prefix(prefix),
            _ => None,
        });
        uri.and_then(|number| number.parse().ok()).map(NodeId).ok_or(TlsError::NotAMember)
    }
}
