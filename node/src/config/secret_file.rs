//! Secrets are only ever named by `*_file` keys; the files are refused when others can read or change them.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Reads a secret that `key` names. Mode 0600 or stricter; a file of root may be readable by its group
/// (0640, as Kubernetes mounts secrets and as the keys of other servers are commonly kept).
pub fn read(key: &str, file: &Path) -> Result<String> {
    check(key, file)?;
    std::fs::read_to_string(file).with_context(|| format!("{key} = {}: cannot be read", file.display()))
}

/// Looks at kind and mode only.
pub fn check(key: &str, file: &Path) -> Result<()> {
    let found = std::fs::metadata(file).with_context(|| format!("{key} = {}: cannot be read", file.display()))?;
    ensure!(found.is_file(), "{key} = {}: not a file", file.display());
    let mode = found.permissions().mode() & 0o777;
    let roots = found.uid() == 0 && !rustix::process::geteuid().is_root();
    let open_to = if roots { mode & 0o037 } else { mode & 0o077 };
    let most = if roots { "0640" } else { "0600" };
    ensure!(
        open_to == 0,
        "{key} = {}: mode {mode:04o} lets others at the secret: chmod {most} {}",
        file.display(),
        file.display()
    );
    Ok(())
}
