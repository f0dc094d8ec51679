//! Malformed and misplaced messages, sent in the clear: the server is set to no cipher, the client is made of bytes.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flotilla_cluster::{Cluster, LocalCluster};
use flotilla_model::command::{Command, CreateUser};
use flotilla_model::{Filters, Permission, Root, Status, StorageName, UserSpec, Username};
use flotilla_session::{Core, CoreConfig};
use flotilla_vfs::{LocalOptions, LocalStorage};
use russh::{Preferred, cipher, kex, mac};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::*;

static PANICS: AtomicUsize = AtomicUsize::new(0);

struct Plain {
    address: SocketAddr,
    cluster: Arc<LocalCluster>,
    _folder: tempfile::TempDir,
}

fn user() -> UserSpec {
    UserSpec {
        status: Status::Enabled,
        expiration_date: 0,
        password_hash: Some(flotilla_auth::hash_password(b"secret").expect("it can be hashed")),
        public_keys: Vec::new(),
        home: Root::new(StorageName::parse("files").expect("a name"), "demo").expect("a root"),
        uid: 0,
        gid: 0,
        max_sessions: 0,
        quota_size: 0,
        quota_files: 0,
        permissions: [("/".to_owned(), vec![Permission::Any])].into(),
        upload_bandwidth: 0,
        download_bandwidth: 0,
        filters: Filters::default(),
        email: String::new(),
        description: String::new(),
        additional_info: String::new(),
        groups: Vec::new(),
        role: None,
    }
}

async fn plain() -> Plain {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        hook(info);
    }));
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = LocalCluster::start();
    let storage = LocalStorage::open("files", folder.path(), LocalOptions::default()).await.expect("a storage");
    let port = Arc::clone(&cluster) as Arc<dyn Cluster>;
    let core = Core::new(CoreConfig::default(), Arc::clone(&port), vec![storage]);
    let username = Username::parse("demo").expect("a name");
    cluster.apply(Command::CreateUser(CreateUser { username, spec: user() })).reply.expect("the user is new");
    let config = Config {
        listen: vec![Listen { address: ([127, 0, 0, 1], 0).into(), proxy_protocol: ProxyProtocol::Off }],
        trusted_proxies: Vec::new(),
        host_keys: generate_host_keys().expect("keys"),
        login_banner: String::new(),
        limits: Limits::default(),
        engine: flotilla_sftp::Config::default(),
    };
    let mut russh = policy::russh_config(&config, &config.host_keys);
    russh.preferred = Preferred {
        kex: Cow::Borrowed(&[kex::NONE]),
        cipher: Cow::Borrowed(&[cipher::NONE]),
        mac: Cow::Borrowed(&[mac::NONE]),
        ..russh.preferred
    };
    let mut server = SshServer::bind(config, core, port).expect("a free port");
    server.set_russh(russh);
    let address = server.handle().addresses()[0];
    tokio::spawn(server.run(CancellationToken::new()));
    let renewed = Arc::clone(&cluster);
    tokio::spawn(async move {
        loop {
            renewed.renew();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    Plain { address, cluster, _folder: folder }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).expect("short").to_be_bytes()[..], bytes].concat()
}

struct Raw(TcpStream);

impl Raw {
    async fn send(&mut self, payload: &[u8]) -> std::io::Result<()> {
        let padding = 4 + (8 - (9 + payload.len()) % 8) % 8;
        let mut packet = u32::try_from(1 + payload.len() + padding).expect("short").to_be_bytes().to_vec();
        packet.push(u8::try_from(padding).expect("at most 11"));
        packet.extend_from_slice(payload);
        packet.resize(packet.len() + padding, 0);
        self.0.write_all(&packet).await
    }

    async fn receive(&mut self) -> std::io::Result<Vec<u8>> {
        let length = self.0.read_u32().await?;
        let mut packet = vec![0; usize::try_from(length).expect("it fits")];
        self.0.read_exact(&mut packet).await?;
        let padding = usize::from(packet[0]);
        Ok(packet[1..packet.len() - padding].to_vec())
    }

    /// The next message of this kind; `None`: the connection ended.
    async fn until(&mut self, kind: u8) -> Option<Vec<u8>> {
        let next = async {
            loop {
                match self.receive().await {
                    Ok(payload) if payload.first() == Some(&kind) => return Some(payload),
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), next).await.expect("an answer or the end")
    }

    async fn connect(plain: &Plain) -> Raw {
        let mut stream = TcpStream::connect(plain.address).await.expect("it listens");
        stream.write_all(b"SSH-2.0-raw\r\n").await.expect("it is open");
        while stream.read_u8().await.expect("an identification") != b'\n' {}
        let mut raw = Raw(stream);
        let mut kexinit = vec![20];
        kexinit.extend([0; 16]);
        for list in ["none", "ssh-ed25519", "none", "none", "none", "none", "none", "none", "", ""] {
            kexinit.extend(string(list.as_bytes()));
        }
        kexinit.extend([0; 5]);
        raw.send(&kexinit).await.expect("it is open");
        raw.until(21).await.expect("new keys");
        raw.send(&[21]).await.expect("it is open");
        raw.send(&[vec![5], string(b"ssh-userauth")].concat()).await.expect("it is open");
        raw.until(6).await.expect("the service");
        raw
    }

    async fn logged_in(plain: &Plain) -> Raw {
        let mut raw = Self::connect(plain).await;
        let mut request = vec![50];
        for text in ["demo", "ssh-connection", "password"] {
            request.extend(string(text.as_bytes()));
        }
        request.push(0);
        request.extend(string(b"secret"));
        raw.send(&request).await.expect("it is open");
        raw.until(52).await.expect("the login succeeds");
        raw
    }

    /// Opens a channel; the number it has at the server.
    async fn open(&mut self) -> Option<u32> {
        let request = [vec![90], string(b"session"), vec![0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 128, 0]].concat();
        self.send(&request).await.ok()?;
        let answer = self.until(91).await?;
        answer.get(5..9).and_then(|number| number.try_into().ok()).map(u32::from_be_bytes)
    }
}

/// A session that must outlive everything.
struct Witness {
    raw: Raw,
    channel: u32,
}

impl Witness {
    async fn start(plain: &Plain) -> Witness {
        let mut raw = Raw::logged_in(plain).await;
        let channel = raw.open().await.expect("a channel");
        let request =
            [vec![98], channel.to_be_bytes().to_vec(), string(b"subsystem"), vec![1], string(b"sftp")].concat();
        raw.send(&request).await.expect("it is open");
        raw.until(99).await.expect("sftp is served");
        let mut witness = Witness { raw, channel };
        witness.say(&[0, 0, 0, 5, 1, 0, 0, 0, 3]).await;
        witness
    }

    async fn say(&mut self, frame: &[u8]) {
        let data = [vec![94], self.channel.to_be_bytes().to_vec(), string(frame)].concat();
        self.raw.send(&data).await.expect("the witness lives");
        self.raw.until(94).await.expect("the witness is answered");
    }

    /// REALPATH of the root.
    async fn lives(&mut self) {
        self.say(&[0, 0, 0, 10, 16, 0, 0, 0, 7, 0, 0, 0, 1, b'/']).await;
    }
}

/// Payloads of 0 to 8 bytes, plain and with lengths that lie.
fn payloads() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for length in 0..=8 {
        for byte in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            all.push(vec![byte; length]);
        }
    }
    all.push([u32::MAX.to_be_bytes(), [0; 4]].concat());
    all.push([5u32.to_be_bytes(), *b"sftp"].concat());
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_channel_requests_end_at_most_their_own_connection() {
    let plain = plain().await;
    let mut witness = Witness::start(&plain).await;
    let kinds = [
        "subsystem",
        "exec",
        "shell",
        "env",
        "pty-req",
        "x11-req",
        "window-change",
        "signal",
        "auth-agent-req@openssh.com",
        "xon-xoff",
        "exit-status",
        "",
    ];
    let mut raw = Raw::logged_in(&plain).await;
    for kind in kinds {
        for payload in payloads() {
            let channel = match raw.open().await {
                Some(channel) => channel,
                None => {
                    raw = Raw::logged_in(&plain).await;
                    raw.open().await.expect("a fresh connection has channels")
                }
            };
            let request =
                [vec![98], channel.to_be_bytes().to_vec(), string(kind.as_bytes()), vec![1], payload].concat();
            let _ = raw.send(&request).await;
            let _ = raw.send(&[vec![97], channel.to_be_bytes().to_vec()].concat()).await;
        }
        witness.lives().await;
    }
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_opens_anything_before_the_login_and_none_panics_after_it() {
    let plain = plain().await;
    let mut witness = Witness::start(&plain).await;
    let sessions = || plain.cluster.state().sessions_of_node(plain.cluster.node()).count();
    let before = sessions();
    let body = [0u8, 0, 0, 0, 0, 0, 0, 4, b's', b'f', b't', b'p', 1, 0, 0, 0];
    for kind in 0..=u8::MAX {
        let mut raw = Raw::connect(&plain).await;
        let _ = raw.send(&[&[kind][..], &body].concat()).await;
        let _ = raw.send(&[vec![90], string(b"session"), vec![0; 12]].concat()).await;
        let _ = raw.0.shutdown().await;
        assert!(raw.until(91).await.is_none(), "message {kind} opened a channel before the login");
    }
    assert_eq!(sessions(), before);
    let mut raw = Raw::logged_in(&plain).await;
    for kind in 0..=u8::MAX {
        if raw.open().await.is_none() {
            raw = Raw::logged_in(&plain).await;
        }
        let _ = raw.send(&[&[kind][..], &body].concat()).await;
        // Closing all that may be open: ids count up by one.
        for channel in 0..600_u32 {
            if raw.send(&[vec![97], channel.to_be_bytes().to_vec()].concat()).await.is_err() {
                break;
            }
        }
    }
    witness.lives().await;
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}
