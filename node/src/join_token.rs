//! A join token's text: whom to ask, which CA to believe, and the secret. The cluster knows the secret's hash only.

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

const PREFIX: &str = "flotilla-join-";
const VERSION: u8 = 1;

#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    pub cluster_id: String,
    /// SHA-256 of the CA's certificate.
    pub ca_fingerprint: [u8; 32],
    pub secret: [u8; 32],
    /// Peer addresses of members.
    pub addresses: Vec<String>,
}

impl JoinToken {
    pub fn new(cluster_id: String, ca_fingerprint: [u8; 32], addresses: Vec<String>) -> JoinToken {
        JoinToken { cluster_id, ca_fingerprint, secret: rand::random(), addresses }
    }

    /// What the cluster knows of it.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    pub fn text(&self) -> String {
        let mut body = vec![VERSION];
        body.extend_from_slice(&self.ca_fingerprint);
        body.extend_from_slice(&self.secret);
        body.extend_from_slice(format!("{}\n{}", self.cluster_id, self.addresses.join("\n")).as_bytes());
        let sum = Sha256::digest(&body);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode([&sum[..4], &body].concat()))
    }

    pub fn parse(text: &str) -> Result<JoinToken> {
        let body = text.trim().strip_prefix(PREFIX).with_context(|| {
            format!("not a join token: it begins with {PREFIX}… as `flotilla cluster token` printed it")
        })?;
        let damaged = "the join token is damaged: was all of it copied?";
        let bytes = URL_SAFE_NO_PAD.decode(body).context(damaged)?;
        let (sum, body) = bytes.split_at_checked(4).context(damaged)?;
        ensure!(Sha256::digest(body)[..4] == *sum, damaged);
        let (version, body) = body.split_first().context(damaged)?;
        ensure!(*version == VERSION, "the join token has version {version}: use that version's program");
        let (ca_fingerprint, body) = body.split_first_chunk().context(damaged)?;
        let (secret, body) = body.split_first_chunk().context(damaged)?;
        let mut lines = std::str::from_utf8(body).context(damaged)?.lines().map(str::to_owned);
        let cluster_id = lines.next().context(damaged)?;
        let (ca_fingerprint, secret) = (*ca_fingerprint, *secret);
        Ok(JoinToken { cluster_id, ca_fingerprint, secret, addresses: lines.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_a_damaged_one_is_named() {
        let token = JoinToken::new("c".into(), [7; 32], vec!["127.0.0.1:8082".into()]);
        let text = token.text();
        assert!(JoinToken::parse(&text).unwrap() == token);
        let cut = &text[..text.len() - 3];
        assert!(format!("{:#}", JoinToken::parse(cut).err().unwrap()).contains("damaged"));
        assert!(format!("{:#}", JoinToken::parse("abc").err().unwrap()).contains("not a join token"));
    }
}
