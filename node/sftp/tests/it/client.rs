//! russh-sftp's client over a byte stream.

use std::sync::Arc;

use flotilla_sftp::{CloseReason, Config, serve_stream};
use russh_sftp::client::SftpSession;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use crate::fixtures::{disk::DiskFiles, packet, rig::soon};

fn serve(root: &std::path::Path, buffer: usize) -> (tokio::io::DuplexStream, tokio::task::JoinHandle<CloseReason>) {
    let (client, server) = tokio::io::duplex(buffer);
    let (reader, writer) = tokio::io::split(server);
    let files = Arc::new(DiskFiles::new(root, true));
    let served = tokio::spawn(async move { serve_stream(files, Config::default(), reader, writer).await.unwrap() });
    (client, served)
}

#[tokio::test]
async fn files_are_written_read_changed_listed_and_removed() {
    let root = tempfile::tempdir().unwrap();
    let (client, served) = serve(root.path(), 64 << 10);
    let sftp = SftpSession::new(client).await.unwrap();
    let content: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    sftp.create_dir("/d").await.unwrap();
    let mut file = sftp.create("/d/file").await.unwrap();
    file.write_all(&content).await.unwrap();
    file.sync_all().await.unwrap();
    file.close().await.unwrap();
    let mut file = sftp.open("/d/file").await.unwrap();
    file.seek(std::io::SeekFrom::Start(999_000)).await.unwrap();
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).await.unwrap();
    assert_eq!(tail, content[999_000..]);
    drop(file);
    assert_eq!(sftp.read("/d/file").await.unwrap(), content);
    let meta = sftp.metadata("/d/file").await.unwrap();
    assert_eq!((meta.size, meta.file_type().is_file()), (Some(1_000_000), true));
    assert_eq!(sftp.canonicalize("d/../d/./file").await.unwrap(), "/d/file");
    let names: Vec<String> = sftp.read_dir("/d").await.unwrap().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["file"]);
    sftp.rename("/d/file", "/d/other").await.unwrap();
    assert!(sftp.fs_info("/").await.unwrap().is_some());
    sftp.remove_file("/d/other").await.unwrap();
    sftp.remove_dir("/d").await.unwrap();
    assert!(!sftp.try_exists("/d").await.unwrap());
    drop(sftp);
    soon("the end", served).await.unwrap();
}

#[tokio::test]
async fn a_client_that_sends_all_before_it_reads_anything_is_served() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("f"), vec![5; 8 << 20]).unwrap();
    let (client, _served) = serve(root.path(), 16 << 10);
    let (mut reader, mut writer) = tokio::io::split(client);
    writer.write_all(&[packet::init(), packet::open(1, "f", 1)].concat()).await.unwrap();
    let version = next(&mut reader).await;
    assert_eq!(version[4], 2);
    let handle = packet::Reply::parse(&next(&mut reader).await).handle();
    // 128 MiB of answers before the first is read: they do not fit anywhere, the requests do.
    let reads: Vec<u8> =
        (0..512u32).flat_map(|n| packet::read(n, &handle, u64::from(n % 32) * 261_120, 261_120)).collect();
    soon("sending", writer.write_all(&reads)).await.unwrap();
    for _ in 0..512 {
        let reply = packet::Reply::parse(&soon("a reply", next(&mut reader)).await);
        assert!(reply.data().iter().all(|byte| *byte == 5));
    }
}

async fn next(reader: &mut (impl tokio::io::AsyncRead + Unpin)) -> bytes::Bytes {
    let length = reader.read_u32().await.unwrap();
    let mut out = length.to_be_bytes().to_vec();
    out.resize(4 + length as usize, 0);
    reader.read_exact(&mut out[4..]).await.unwrap();
    out.into()
}

#[tokio::test]
async fn a_protocol_error_ends_the_stream_after_its_answer() {
    let root = tempfile::tempdir().unwrap();
    let (mut client, served) = serve(root.path(), 16 << 10);
    client.write_all(&[packet::init(), packet::packet(3, 9, &[b"xx"])].concat()).await.unwrap();
    assert_eq!(next(&mut client).await[4], 2);
    assert_eq!(packet::Reply::parse(&next(&mut client).await).code(), 5);
    assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    assert!(matches!(soon("the end", served).await.unwrap(), CloseReason::Protocol(_)));
}

#[tokio::test]
async fn a_client_that_does_not_read_cannot_keep_a_session_that_is_over() {
    let root = tempfile::tempdir().unwrap();
    let (mut client, server) = tokio::io::duplex(16);
    let (reader, writer) = tokio::io::split(server);
    let config = Config { finish_limit: std::time::Duration::from_millis(10), ..Config::default() };
    let files = Arc::new(DiskFiles::new(root.path(), true));
    let served = tokio::spawn(async move { serve_stream(files, config, reader, writer).await.unwrap() });
    client.write_all(&[packet::init(), vec![0xff; 8]].concat()).await.unwrap();
    assert!(matches!(soon("the end", served).await.unwrap(), CloseReason::Protocol(_)));
}
