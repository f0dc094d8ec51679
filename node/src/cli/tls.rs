//! TLS to a node's admin listener: the CAs that the caller names, and either the address's own name or a node of the cluster.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::Globals;
use super::failure::Failure;

/// Settings for https endpoints.
pub(super) fn client_config(globals: &Globals) -> Result<Arc<ClientConfig>, Failure> {
    let Some(ca_file) = &globals.ca_file else {
        return Err(Failure::usage(
            "an https endpoint needs --ca-file FILE (or FLOTILLA_CA_FILE): the cluster's ca.pem, or the CAs of your own certificate",
        ));
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("--ca-file", ca_file)? {
        roots.add(certificate).map_err(|error| Failure::usage(format!("--ca-file {}: {error}", ca_file.display())))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let verifier = verifier.map_err(|error| Failure::usage(format!("--ca-file {}: {error}", ca_file.display())))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Failure::other(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(NameOrNode(verifier)));
    let mut config = match (&globals.cert, &globals.key) {
        (Some(cert), Some(key)) => {
            let own = PrivateKeyDer::from_pem_file(key);
            let own = own.map_err(|error| Failure::usage(format!("--key {}: {error}", key.display())))?;
            let paired = builder.with_client_auth_cert(certificates("--cert", cert)?, own);
            paired.map_err(|error| Failure::usage(format!("--cert {}: {error}", cert.display())))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(flag: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let failed = |why: String| Failure::usage(format!("{flag} {}: {why}", file.display()));
    let read = CertificateDer::pem_file_iter(file).and_then(|found| found.collect::<Result<Vec<_>, _>>());
    match read {
        Ok(found) if found.is_empty() => Err(failed("holds no PEM certificate".into())),
        Ok(found) => Ok(found),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// A certificate for the name that was dialled; or one that names a node of the cluster, since nodes are dialled by address.
/// Either way it must come from one of the CAs that were given.
#[derive(Debug)]
struct NameOrNode(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for NameOrNode {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let by_name = self.0.verify_server_cert(leaf, chain, name, ocsp, now);
        let other_name = matches!(
            &by_name,
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
            ))
        );
        match node_name(leaf) {
            Some(node) if other_name => self.0.verify_server_cert(leaf, chain, &node, ocsp, now),
            _ => by_name,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The name under which nodes know each other, if the certificate claims to be a node's (`flotilla://CLUSTER/nodes/N`).
fn node_name(leaf: &CertificateDer<'_>) -> Option<ServerName<'static>> {
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).ok()?;
    let names = parsed.subject_alternative_name().ok().flatten()?;
    let node = names.value.general_names.iter().find_map(|name| match name {
        x509_parser::extensions::GeneralName::URI(uri) => uri.strip_prefix("flotilla://")?.split_once("/nodes/"),
        _ => None,
    });
    ServerName::try_from(flotilla_raft::pki::node_dns(node?.1.parse().ok()?)).ok()
}
