//! A small file system of its own, to be filled.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A tmpfs; unmounted when dropped.
pub struct Mount {
    path: PathBuf,
}

impl Mount {
    /// Mounts `mib` MiB at `path`, which is made. Needs the right to mount: what cannot be shown fails, it is not skipped.
    pub fn at(path: &Path, mib: u32) -> Result<Mount> {
        std::fs::create_dir_all(path)?;
        let size = format!("size={mib}m");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).output()?;
        let text = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "mounting a tmpfs needs root (run the tests as root): {text}");
        Ok(Mount { path: path.to_owned() })
    }

    /// Takes all room there is. Dropping what it returns gives the room back.
    pub fn fill(&self) -> Result<Filling> {
        let path = self.path.join("filling");
        let mut file = std::fs::File::create(&path).with_context(|| path.display().to_string())?;
        for size in [1 << 20, 4096, 1] {
            while std::io::Write::write_all(&mut file, &vec![0; size]).is_ok() {}
        }
        Ok(Filling { path })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("--lazy").arg(&self.path).status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("umount {} failed", self.path.display());
        }
    }
}

/// The file that takes the room.
pub struct Filling {
    path: PathBuf,
}

impl Drop for Filling {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
