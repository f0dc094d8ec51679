//! What the admin listener shows: certificates of the operator's own, or this node's certificate of the cluster's CA.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use flotilla_api::{Material, Tls};

use crate::config::{Config, secret_file};
use crate::identity::Identity;

/// Reads the files that `[admin.tls]` stands for; `None` without that section.
pub fn load(config: &Config) -> Result<Option<Material>> {
    let Some(tls) = &config.admin.tls else { return Ok(None) };
    let (chain_pem, key_pem) = match (&tls.certificate_file, &tls.key_file) {
        (Some(certificate), Some(key)) => {
            (read("admin.tls.certificate_file", certificate)?, secret_file::read("admin.tls.key_file", key)?)
        }
        _ => {
            let identity = Identity::open(&config.node.data)?;
            (identity.certificate_pem, identity.key_pem)
        }
    };
    let client_ca = tls.client_ca_file.as_deref().map(|file| read("admin.tls.client_ca_file", file)).transpose()?;
    Ok(Some(Material { chain_pem, key_pem, client_ca_pem: client_ca, require_client: tls.require_client_certificate }))
}

/// The listener's TLS; `None` without the section.
pub fn start(config: &Config) -> Result<Option<Arc<Tls>>> {
    let material = load(config)?;
    material.map(|material| Tls::new(&material)).transpose().context("admin.tls")
}

fn read(key: &str, file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("{key} = {}: cannot be read", file.display()))
}
