//! TLS of the admin listener: which certificate it shows, whose client certificates it believes. Replaced while it runs.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

/// Why the listener's TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{0}: not PEM: {1}")]
    Pem(&'static str, rustls::pki_types::pem::Error),
    #[error("{0}: holds no certificate")]
    Empty(&'static str),
    #[error("certificate and key: {0}")]
    Pair(rustls::Error),
    #[error("client CA certificates: {0}")]
    ClientCa(String),
    #[error("certificate: cannot be read: {0}")]
    Certificate(String),
}

/// What the listener shows and believes, as PEM.
pub struct Material {
    /// The listener's own certificate first, then what leads to its CA.
    pub chain_pem: String,
    pub key_pem: String,
    /// CAs of client certificates; `None`: none is asked for.
    pub client_ca_pem: Option<String>,
    pub require_client: bool,
}

/// One for the life of a listener.
pub struct Tls {
    config: ArcSwap<ServerConfig>,
}

/// The name of the admin or token that a client's certificate speaks for. Only from a certificate that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateName(pub String);

impl Tls {
    pub fn new(material: &Material) -> Result<Arc<Tls>, TlsError> {
        Ok(Arc::new(Tls { config: ArcSwap::new(server_config(material)?) }))
    }

    /// New connections see the new material; on an error the old stays.
    pub fn replace(&self, material: &Material) -> Result<(), TlsError> {
        self.config.store(server_config(material)?);
        Ok(())
    }

    pub(super) fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        tokio_rustls::TlsAcceptor::from(self.config.load_full())
    }
}

fn server_config(material: &Material) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates("certificate", &material.chain_pem)?;
    let leaf = chain.first().ok_or(TlsError::Empty("certificate"))?;
    let expires = expires_at(leaf)?;
    let key = PrivateKeyDer::from_pem_slice(material.key_pem.as_bytes()).map_err(|e| TlsError::Pem("key", e))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Pair)?;
    let builder = match client_verifier(material)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    metrics::gauge!("flotilla_certificate_expires_seconds", "certificate" => "admin").set(expires as f64);
    Ok(Arc::new(config))
}

fn client_verifier(material: &Material) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let Some(pem) = &material.client_ca_pem else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("client CA", pem)? {
        roots.add(certificate).map_err(|error| TlsError::ClientCa(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(TlsError::Empty("client CA"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if material.require_client { builder } else { builder.allow_unauthenticated() };
    builder.build().map(Some).map_err(|error| TlsError::ClientCa(error.to_string()))
}

fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(|e| TlsError::Pem(what, e))
}

/// Seconds since 1970.
fn expires_at(leaf: &CertificateDer<'_>) -> Result<i64, TlsError> {
    let parsed = x509_parser::parse_x509_certificate(leaf);
    let (_, certificate) = parsed.map_err(|error| TlsError::Certificate(error.to_string()))?;
    Ok(certificate.validity().not_after.timestamp())
}

/// The subject's common name of a verified certificate, if it has exactly one.
pub(super) fn name_of(chain: Option<&[CertificateDer<'_>]>) -> Option<CertificateName> {
    let (_, certificate) = x509_parser::parse_x509_certificate(chain?.first()?).ok()?;
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?.to_owned();
    names.next().is_none().then_some(CertificateName(name))
}
