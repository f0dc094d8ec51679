//! Certificates of a cluster's nodes: a CA, and node certificates that name cluster and node in a URI.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("certificate: {0}")]
pub struct PkiError(#[from] rcgen::Error);

/// A certificate and its private key, both PEM.
#[derive(Clone)]
pub struct Identity {
    pub certificate_pem: String,
    pub key_pem: String,
}

/// The URI that names a node in its certificate.
pub fn node_uri(cluster_id: &str, node: u64) -> String {
    format!("flotilla://{cluster_id}/nodes/{node}")
}

/// The name under which TLS asks for a node; the URI is what counts.
pub fn node_dns(node: u64) -> String {
    format!("node-{node}.flotilla.invalid")
}

/// Makes the CA of a new cluster.
pub fn make_ca(cluster_id: &str) -> Result<Identity, PkiError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("Flotilla cluster {cluster_id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    Ok(Identity { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
}

/// Makes a node's key and certificate, for both ends of a peer connection.
pub fn make_node(ca: &Identity, cluster_id: &str, node: u64) -> Result<Identity, PkiError> {
    let issuer = Issuer::from_ca_cert_pem(&ca.certificate_pem, KeyPair::from_pem(&ca.key_pem)?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("Flotilla node {node}"));
    params.subject_alt_names = vec![
        SanType::URI(node_uri(cluster_id, node).as_str().try_into()?),
        SanType::DnsName(node_dns(node).as_str().try_into()?),
    ];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Identity { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
}
