//! Certificates of a cluster's nodes: a CA, and short-lived node certificates that name cluster and node in a URI.
//!
//! A node keeps its key for life (the log holds its public half); certificates for it are made anew before they end.

use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, UnparsedPublicKey};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType, SubjectPublicKeyInfo,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

/// How long a node's certificate is valid unless configured otherwise.
pub const NODE_CERTIFICATE_LIFE: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Certificates are valid from a day before they are made: clocks differ.
const BACKDATED: Duration = Duration::from_secs(24 * 3_600);
/// An uncompressed point of P-256 at the end of its SubjectPublicKeyInfo.
const POINT: usize = 65;

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("certificate: {0}")]
    Made(#[from] rcgen::Error),
    #[error("certificate or key: {0}")]
    Read(String),
}

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

/// Makes a node's private key, PEM.
pub fn make_key() -> Result<String, PkiError> {
    Ok(KeyPair::generate()?.serialize_pem())
}

/// Makes a certificate for a node's public key (DER SubjectPublicKeyInfo), for both ends of a peer connection.
pub fn certify(
    ca: &Identity,
    cluster_id: &str,
    node: u64,
    public_key: &[u8],
    life: Duration,
) -> Result<String, PkiError> {
    let issuer = Issuer::from_ca_cert_pem(&ca.certificate_pem, KeyPair::from_pem(&ca.key_pem)?)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("Flotilla node {node}"));
    params.subject_alt_names = vec![
        SanType::URI(node_uri(cluster_id, node).as_str().try_into()?),
        SanType::DnsName(node_dns(node).as_str().try_into()?),
    ];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let now = SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + life).into();
    let public_key = SubjectPublicKeyInfo::from_der(public_key)?;
    Ok(params.signed_by(&public_key, &issuer)?.pem())
}

/// Makes a node's key and certificate.
pub fn make_node(ca: &Identity, cluster_id: &str, node: u64) -> Result<Identity, PkiError> {
    let key_pem = make_key()?;
    let certificate_pem = certify(ca, cluster_id, node, &public_key(&key_pem)?, NODE_CERTIFICATE_LIFE)?;
    Ok(Identity { certificate_pem, key_pem })
}

/// The public half of a private key, DER SubjectPublicKeyInfo.
pub fn public_key(key_pem: &str) -> Result<Vec<u8>, PkiError> {
    Ok(KeyPair::from_pem(key_pem)?.subject_public_key_info())
}

/// SHA-256 of a certificate: what a join token pins.
pub fn fingerprint(certificate_pem: &str) -> Result<[u8; 32], PkiError> {
    Ok(Sha256::digest(der(certificate_pem)?).into())
}

/// Until when a certificate is valid.
pub fn valid_until(certificate_pem: &str) -> Result<SystemTime, PkiError> {
    let der = der(certificate_pem)?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|error| PkiError::Read(error.to_string()))?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn der(certificate_pem: &str) -> Result<CertificateDer<'static>, PkiError> {
    CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|error| PkiError::Read(error.to_string()))
}

/// Signs with a node's key.
pub fn sign(key_pem: &str, message: &[u8]) -> Result<Vec<u8>, PkiError> {
    let failed = |what: &str| PkiError::Read(what.to_owned());
    let key = KeyPair::from_pem(key_pem)?;
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.serialized_der())
        .map_err(|_| failed("not a P-256 key"))?;
    let signature = key.sign(&SystemRandom::new(), message).map_err(|_| failed("signing failed"))?;
    Ok(signature.as_ref().to_vec())
}

/// Whether the signature is that of the public key (DER SubjectPublicKeyInfo).
pub fn verify(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Some(at) = public_key.len().checked_sub(POINT) else { return false };
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &public_key[at..]).verify(message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_signs_its_public_key_verifies_and_no_other() {
        let (one, two) = (make_key().unwrap(), make_key().unwrap());
        let signature = sign(&one, b"message").unwrap();
        assert!(verify(&public_key(&one).unwrap(), b"message", &signature));
        assert!(!verify(&public_key(&one).unwrap(), b"another", &signature));
        assert!(!verify(&public_key(&two).unwrap(), b"message", &signature));
        assert!(!verify(b"short", b"message", &signature));
    }

    #[test]
    fn a_certificate_is_valid_for_the_life_that_was_asked() {
        let ca = make_ca("c").unwrap();
        let key = public_key(&make_key().unwrap()).unwrap();
        let life = Duration::from_secs(3_600);
        let until = valid_until(&certify(&ca, "c", 3, &key, life).unwrap()).unwrap();
        let left = until.duration_since(SystemTime::now()).unwrap();
        assert!(left <= life && left > life - Duration::from_secs(60), "{left:?}");
    }
}
