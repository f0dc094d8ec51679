//! TLS between nodes: both sides show a certificate of the cluster's CA, and its URI says which node speaks.
//!
//! A node's certificate can be replaced while it runs. Who joins has none yet: it pins the CA and is served `Join` only.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use flotilla_model::NodeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use sha2::{Digest, Sha256};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::pki;

/// The name that a joining machine asks for: it does not know which node it will meet.
const JOIN_NAME: &str = "join.flotilla.invalid";

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

/// Who is at the other end, as its certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub node: NodeId,
    /// DER SubjectPublicKeyInfo.
    pub public_key: Arc<[u8]>,
}

/// Both sides' settings.
#[derive(Clone)]
pub struct Tls {
    cluster_id: String,
    pub acceptor: TlsAcceptor,
    pub connector: TlsConnector,
    own: Arc<Own>,
}

/// This node's certificate, for new connections of both directions.
struct Own {
    ca: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: Arc<CryptoProvider>,
    now: ArcSwap<CertifiedKey>,
    pem: ArcSwap<String>,
}

impl Own {
    fn certified(&self, certificate_pem: &str) -> Result<CertifiedKey, TlsError> {
        let mut chain = CertificateDer::pem_slice_iter(certificate_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        // Who joins knows the CA by its fingerprint only, so it is shown.
        chain.extend(self.ca.iter().cloned());
        Ok(CertifiedKey::from_der(chain, self.key.clone_key(), &self.provider)?)
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Own")
    }
}

impl ResolvesServerCert for Own {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now.load_full())
    }
}

impl ResolvesClientCert for Own {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.now.load_full())
    }
    fn has_certs(&self) -> bool {
        true
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

impl Tls {
    pub fn new(cluster_id: &str, ca_pem: &str, certificate_pem: &str, key_pem: &str) -> Result<Self, TlsError> {
        let ca = CertificateDer::pem_slice_iter(ca_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let mut roots = RootCertStore::empty();
        for certificate in &ca {
            roots.add(certificate.clone())?;
        }
        let provider = provider();
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())?;
        let none = CertifiedKey::new(Vec::new(), provider.key_provider.load_private_key(key.clone_key())?);
        let own = Own {
            ca,
            key,
            provider: Arc::clone(&provider),
            now: ArcSwap::from_pointee(none),
            pem: ArcSwap::from_pointee(certificate_pem.to_owned()),
        };
        own.now.store(Arc::new(own.certified(certificate_pem)?));
        let own = Arc::new(own);
        let roots = Arc::new(roots);
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&own) as _);
        server.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session would show the certificate of its first connection.
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::clone(&own) as _);
        client.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Tls {
            cluster_id: cluster_id.to_owned(),
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
            own,
        })
    }

    /// New connections show this certificate; it must be of the same key.
    pub fn replace_certificate(&self, certificate_pem: &str) -> Result<(), TlsError> {
        self.own.now.store(Arc::new(self.own.certified(certificate_pem)?));
        self.own.pem.store(Arc::new(certificate_pem.to_owned()));
        Ok(())
    }

    /// The certificate that is shown now.
    pub fn certificate(&self) -> String {
        self.own.pem.load().to_string()
    }

    pub fn server_name(node: NodeId) -> ServerName<'static> {
        ServerName::try_from(pki::node_dns(node.0)).expect("the name is a valid DNS name")
    }

    /// The node that the peer's certificate names, if it is one of this cluster.
    pub fn peer(&self, certificates: Option<&[CertificateDer<'_>]>) -> Result<Shown, TlsError> {
        let leaf = certificates.and_then(<[_]>::first).ok_or(TlsError::NotAMember)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|_| TlsError::NotAMember)?;
        let names = parsed.subject_alternative_name().ok().flatten().ok_or(TlsError::NotAMember)?;
        let prefix = pki::node_uri(&self.cluster_id, 0);
        let prefix = prefix.strip_suffix('0').expect("it ends with the number just given");
        let uri = names.value.general_names.iter().find_map(|name| match name {
            x509_parser::extensions::GeneralName::URI(uri) => uri.strip_prefix(prefix),
            _ => None,
        });
        let node = uri.and_then(|number| number.parse().ok()).map(NodeId).ok_or(TlsError::NotAMember)?;
        Ok(Shown { node, public_key: parsed.public_key().raw.into() })
    }
}

/// A connector without a certificate that believes the CA of this fingerprint (SHA-256) and no other.
pub fn join_connector(ca_fingerprint: [u8; 32]) -> Result<(TlsConnector, ServerName<'static>), TlsError> {
    let provider = provider();
    let pinned = PinnedCa { fingerprint: ca_fingerprint, provider: Arc::clone(&provider) };
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_no_client_auth();
    let name = ServerName::try_from(JOIN_NAME).expect("the name is a valid DNS name");
    Ok((TlsConnector::from(Arc::new(client)), name))
}

/// Accepts what the pinned CA signed for any node. The validity is judged at a time within it: this machine's clock
/// may be wrong, which the cluster will tell it (`Join` compares the clocks).
#[derive(Debug)]
struct PinnedCa {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let ca = intermediates.iter().find(|shown| self.fingerprint == <[u8; 32]>::from(Sha256::digest(shown)));
        let mut roots = RootCertStore::empty();
        roots.add(ca.ok_or_else(unknown)?.clone().into_owned())?;
        let (_, parsed) = x509_parser::parse_x509_certificate(end_entity).map_err(|_| unknown())?;
        let until = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(1);
        let within = UnixTime::since_unix_epoch(Duration::from_secs(until.saturating_sub(1)));
        let algorithms = self.provider.signature_verification_algorithms.all;
        let leaf = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&leaf, &roots, &[], within, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
