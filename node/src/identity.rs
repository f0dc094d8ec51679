//! Who a node is: the files under `identity/` of its data folder, made whole by `init` or `join`, or not at all.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use flotilla_raft::roster::{Roster, Voucher};
use serde::{Deserialize, Serialize};

use crate::secrets::Keyring;

const FOLDER: &str = "identity";
const MEMBER: &str = "member.json";
const CA: &str = "ca.pem";
const CERTIFICATE: &str = "node.pem";
const KEY: &str = "node.key";
const CLUSTER_KEY: &str = "cluster.key";
const BOOTSTRAP: &str = "bootstrap.json";

/// What is not a key or a certificate.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    pub cluster_id: String,
    pub node: u64,
    /// The node that made the cluster.
    pub founder: bool,
    /// The members as the answer to the join named them.
    pub roster: Option<Roster>,
    pub voucher: Option<Voucher>,
}

/// An identity that is about to be written.
pub struct NewIdentity {
    pub member: Member,
    pub ca_pem: String,
    pub certificate_pem: String,
    pub key_pem: String,
    pub cluster_keys: String,
    /// The founder's first words to the cluster.
    pub bootstrap: Option<String>,
}

/// A node's identity as it lies in its data folder.
pub struct Identity {
    folder: PathBuf,
    pub member: Member,
    pub ca_pem: String,
    pub certificate_pem: String,
    pub key_pem: String,
}

impl Identity {
    /// Reads the identity; says what to do if there is none.
    pub fn open(data: &Path) -> Result<Identity> {
        let folder = data.join(FOLDER);
        if !folder.is_dir() {
            bail!(
                "data folder {} belongs to no cluster yet: run `flotilla init` to make one, \
                 or `flotilla join TOKEN` with a token of `flotilla cluster token`",
                data.display()
            );
        }
        let read = |name: &str| read(&folder.join(name));
        let member = serde_json::from_str(&read(MEMBER)?).with_context(|| format!("{}/{MEMBER}", folder.display()))?;
        let (ca_pem, certificate_pem, key_pem) = (read(CA)?, read(CERTIFICATE)?, read(KEY)?);
        Ok(Identity { member, ca_pem, certificate_pem, key_pem, folder })
    }

    /// Refuses a folder that holds anything a node would have left there.
    pub fn refuse_used(data: &Path) -> Result<()> {
        if let Ok(found) = Identity::open(data) {
            bail!(
                "data folder {} is node {} of cluster {} already: start it with `flotilla serve`, \
                 or give an empty folder",
                data.display(),
                found.member.node,
                found.member.cluster_id
            );
        }
        for leftover in ["log", "snapshots", "START", "CLUSTER"] {
            ensure!(
                !data.join(leftover).exists(),
                "data folder {} holds {leftover} of an earlier node: give an empty folder",
                data.display()
            );
        }
        Ok(())
    }

    /// Writes all files aside and gives the folder its name last.
    pub fn write(data: &Path, new: &NewIdentity) -> Result<()> {
        let aside = data.join("identity.new");
        let _ = std::fs::remove_dir_all(&aside);
        std::fs::create_dir_all(&aside).with_context(|| format!("making {}", aside.display()))?;
        let member = serde_json::to_string_pretty(&new.member)?;
        let mut files = vec![
            (MEMBER, &member),
            (CA, &new.ca_pem),
            (CERTIFICATE, &new.certificate_pem),
            (KEY, &new.key_pem),
            (CLUSTER_KEY, &new.cluster_keys),
        ];
        files.extend(new.bootstrap.as_ref().map(|bootstrap| (BOOTSTRAP, bootstrap)));
        for (name, content) in files {
            replace_private(&aside.join(name), content.as_bytes())?;
        }
        let folder = data.join(FOLDER);
        std::fs::rename(&aside, &folder).with_context(|| format!("making {}", folder.display()))?;
        std::fs::File::open(data).and_then(|dir| dir.sync_all()).with_context(|| format!("syncing {}", data.display()))
    }

    pub fn keyring(&self) -> Result<Keyring> {
        Keyring::load(&self.folder.join(CLUSTER_KEY))
    }

    pub fn bootstrap_file(&self) -> PathBuf {
        self.folder.join(BOOTSTRAP)
    }

    /// Keeps a renewed certificate.
    pub fn keep_certificate(&self, certificate_pem: &str) -> Result<()> {
        replace_private(&self.folder.join(CERTIFICATE), certificate_pem.as_bytes())
    }
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

/// Where the node's certificate stands.
pub fn certificate_file(data: &Path) -> PathBuf {
    data.join(FOLDER).join(CERTIFICATE)
}

/// Writes a 0600 file so that the old or the new content is there, whole, whatever happens.
pub fn replace_private(file: &Path, content: &[u8]) -> Result<()> {
    let aside = file.with_extension("new");
    let write = || -> std::io::Result<()> {
        let _ = std::fs::remove_file(&aside);
        let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        out.write_all(content)?;
        out.sync_all()?;
        std::fs::rename(&aside, file)?;
        std::fs::File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    write().with_context(|| format!("writing {}", file.display()))
}
