//! Bytes that no client should send: answered, refused or cut off, and the node serves on.

use std::time::Duration;

use flotilla_jepsen::client::{LoggedIn, Sftp, Upload, pattern};
use flotilla_jepsen::lab::Lab;
use russh::ChannelMsg;
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest patience with a client that says nothing that can be read is the grace time, 30 s.
const SOON: Duration = Duration::from_secs(40);

/// Sends bytes instead of an SSH handshake; returns when the server has closed the connection.
async fn is_closed_on(port: u16, what: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // The server may close before everything is sent.
    let _ = stream.write_all(bytes).await;
    let mut rest = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "{what}: the connection is still open after {SOON:?}");
    assert!(rest.len() < 64 << 10, "{what}: {} bytes came back", rest.len());
}

/// An SSH packet as it stands on the wire before encryption: length, padding length, rest.
fn packet(length: u32, padding: u8, body: &[u8]) -> Vec<u8> {
    [b"SSH-2.0-test\r\n".as_slice(), &length.to_be_bytes(), &[padding], body].concat()
}

/// One raw SFTP channel: sends bytes, returns what came back until the server closed it.
async fn frames(own: &LoggedIn, bytes: &[u8]) -> Vec<u8> {
    let mut channel = own.ssh.channel_open_session().await.expect("the connection lives on");
    channel.request_subsystem(true, "sftp").await.unwrap();
    channel.data(bytes).await.unwrap();
    let mut answers = Vec::new();
    let closed = tokio::time::timeout(SOON, async {
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => answers.extend_from_slice(&data),
                ChannelMsg::Close => break,
                _ => {}
            }
        }
    });
    assert!(closed.await.is_ok(), "the channel is still open after {SOON:?}; answers {answers:?}");
    answers
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 1).to_be_bytes(), [kind].as_slice(), body].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_bytes_end_what_sent_them_and_nothing_else() {
    let lab = Lab::start(1).await.unwrap();
    lab.user("good", 0, 0, 0).await.unwrap();
    let port = lab.sftp_port(1);
    let good = Sftp::login(port, "good").await.unwrap().expect("login");
    assert!(matches!(good.upload("/good", 1 << 20, 32768).await, Upload::Stored));

    banners_and_packets(port).await;
    let own = LoggedIn::login(port, "good").await.unwrap().expect("login");
    sftp_frames(&own).await;
    names(&good).await;

    assert_eq!(good.download("/good").await.unwrap(), pattern(0, 1 << 20));
    assert!(Sftp::login(port, "good").await.unwrap().is_ok());
    assert!(!lab.log(1).contains("panicked"), "{}", lab.log(1));
    let panics = lab.rest(1).unwrap().metric("flotilla_panics_total", "").await.unwrap();
    assert!(panics == 0.0, "{panics} panics");
}

async fn banners_and_packets(port: u16) {
    let zeros = vec![0; 1 << 20];
    let cases: [(&str, Vec<u8>); 9] = [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ("SSH 1", b"SSH-1.5-old\r\n".to_vec()),
        ("a banner without an end", vec![b'A'; 1 << 20]),
        ("zeros", zeros.clone()),
        ("a packet of 4 GiB", packet(u32::MAX, 4, &zeros)),
        ("a packet of nothing", packet(0, 0, &[])),
        ("more padding than packet", packet(12, 255, &zeros[..64])),
        ("a message before the key exchange", packet(12, 4, &[50, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("a key exchange of rubbish", packet(60, 4, &[vec![20; 1], vec![0xff; 58]].concat())),
    ];
    futures::future::join_all(cases.iter().map(|(what, bytes)| is_closed_on(port, what, bytes))).await;
}

async fn sftp_frames(own: &LoggedIn) {
    let init = frame(1, &3u32.to_be_bytes());
    let read_id = 7u32.to_be_bytes();
    let cases: [(&str, Vec<u8>); 8] = [
        ("a frame of 4 GiB", u32::MAX.to_be_bytes().to_vec()),
        ("a frame of nothing", vec![0; 4]),
        ("a frame above the limit", (512u32 << 10).to_be_bytes().to_vec()),
        ("no INIT first", frame(5, &[read_id.to_vec(), string(b"h"), vec![0; 12]].concat())),
        ("a second INIT", init.clone()),
        ("a READ that ends in its handle's length", frame(5, &[0, 0, 0, 7, 0xff, 0xff])),
        ("an OPEN whose name is longer than its frame", frame(3, &[0, 0, 0, 7, 0x7f, 0xff, 0xff, 0xff, b'a'])),
        ("a request without an id", frame(17, &[0])),
    ];
    for (what, bytes) in cases {
        let first = if what.starts_with("no INIT") { Vec::new() } else { init.clone() };
        let answers = frames(own, &[first, bytes].concat()).await;
        assert!(answers.len() < 4096, "{what}: {} bytes of answers", answers.len());
    }
    // A type that nobody knows is answered, and the channel goes on: OP_UNSUPPORTED under its id, then a good request.
    let mut channel = own.ssh.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    let realpath = frame(16, &[9u32.to_be_bytes().to_vec(), string(b".")].concat());
    channel.data(&[init, frame(99, &[0, 0, 0, 8, 1, 2, 3]), realpath].concat()[..]).await.unwrap();
    let mut answers = Vec::new();
    let both = tokio::time::timeout(SOON, async {
        while !answers.windows(4).any(|id| id == [0, 0, 0, 9]) {
            if let Some(ChannelMsg::Data { data }) = channel.wait().await {
                answers.extend_from_slice(&data);
            }
        }
    });
    assert!(both.await.is_ok(), "no answer to the request behind the unknown one: {answers:?}");
    let unsupported = [101, 0, 0, 0, 8, 0, 0, 0, 8];
    assert!(answers.windows(9).any(|window| window == unsupported), "{answers:?}");
}

/// Names that are none are refused by a status; `..` never leaves the home.
async fn names(good: &Sftp) {
    let long = "n".repeat(256);
    let deep = "d/".repeat(4000);
    for name in ["/a\0b", "\0", long.as_str(), deep.as_str()] {
        assert!(good.create(name).await.is_err(), "{name:?} was made");
        assert!(good.raw.mkdir(name, FileAttributes::empty()).await.is_err(), "{name:?} was made");
        assert!(good.raw.rename("/good", name).await.is_err(), "renamed to {name:?}");
        assert!(good.raw.stat(name).await.is_err(), "{name:?} is there");
    }
    for name in ["/../../../../etc/passwd", "../../../etc/passwd", "/x/../../../../etc/passwd"] {
        assert!(good.raw.open(name, OpenFlags::READ, FileAttributes::empty()).await.is_err(), "{name} was read");
    }
    let up = good.raw.realpath("/../..").await.unwrap();
    assert_eq!(up.files[0].filename, "/");
    for (offset, length) in [(u64::MAX, 1), (u64::MAX - 10, 100), (1 << 63, 32768)] {
        let handle = good.create("/absurd").await.unwrap();
        assert!(good.raw.write(&handle, offset, vec![1; length]).await.is_err(), "wrote at {offset}");
        assert!(good.raw.close(&handle).await.is_err(), "closed well after a WRITE that failed");
    }
    let handle = good.raw.open("/good", OpenFlags::READ, FileAttributes::empty()).await.unwrap().handle;
    assert!(good.raw.read(&handle, u64::MAX, u32::MAX).await.is_err());
    let some = good.raw.read(&handle, 0, u32::MAX).await.unwrap();
    assert!(!some.data.is_empty() && some.data.len() <= 1 << 20);
    assert!(good.raw.read("no such handle", 0, 1).await.is_err());
    assert!(good.raw.stat("/absurd").await.is_err());
}
