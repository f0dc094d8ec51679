//! An SFTP server on stdin and stdout for the folder in `FLOTILLA_TEST_ROOT`: what `sftp -D` starts in the tests.
//! `FLOTILLA_TEST_CACHED=0` lets every read be a job.

use std::{fs::File, io, os::fd::AsFd as _, sync::Arc};

use flotilla_sftp::{Config, serve_stream};

#[path = "../tests/it/fixtures/disk.rs"]
mod disk;

#[tokio::main]
async fn main() -> io::Result<()> {
    let root = std::env::var("FLOTILLA_TEST_ROOT").map_err(io::Error::other)?;
    let cached = std::env::var("FLOTILLA_TEST_CACHED").as_deref() != Ok("0");
    let files = Arc::new(disk::DiskFiles::new(root, cached));
    let reader = tokio::fs::File::from_std(File::from(io::stdin().as_fd().try_clone_to_owned()?));
    let writer = tokio::fs::File::from_std(File::from(io::stdout().as_fd().try_clone_to_owned()?));
    let reason = serve_stream(files, Config::default(), reader, writer).await?;
    eprintln!("{reason}");
    // A blocking thread may still read stdin which would keep the runtime.
    std::process::exit(0)
}
