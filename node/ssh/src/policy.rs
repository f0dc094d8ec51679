//! What we speak: the algorithm lists of `security.md` 4.5 (`default`), and how russh is set.

use std::borrow::Cow;
use std::time::Duration;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac, server};

use crate::config::{Config, Limits};
use crate::host_keys::HostKeys;

/// Names neither program nor version.
const IDENTIFICATION: &str = "SSH-2.0-Flotilla";
/// Below 16 MiB uploads over long links are slower than OpenSSH's (`performance.md` 4.5).
const WINDOW: u32 = 16 << 20;
/// Clients that send large packets may; OpenSSH sends 32 KiB.
const MAX_PACKET: u32 = 261_000;
/// Replies that jobs may have queued in russh; what more there is waits in the engine.
const EVENTS: usize = 10;
/// russh counts the first "none" too. Our own counters end a login before.
const SPARE_ATTEMPTS: usize = 2;
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVES_UNANSWERED: usize = 3;
const REKEY_TIME: Duration = Duration::from_secs(3600);

const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];
const CIPHERS: &[cipher::Name] = &[
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_128_CTR,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
];
const MACS: &[mac::Name] = &[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM];
/// Plain `zlib` would run before the login; none at all is offered.
const COMPRESSION: &[compression::Name] = &[compression::NONE];
/// Host keys, and what user keys may sign with (russh announces the same list). RSA is for users only, since signing with it leaks by
/// its time (RUSTSEC-2023-0071): no such host key is read. `ssh-rsa`, with SHA-1, is in no list.
const KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::SkEd25519,
    Algorithm::SkEcdsaSha2NistP256,
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// The methods that we have; every rejection names them, since russh forgets a method that was rejected without.
pub(crate) fn methods() -> MethodSet {
    MethodSet::from(&[MethodKind::PublicKey, MethodKind::Password][..])
}

fn preferred() -> Preferred {
    Preferred {
        kex: Cow::Borrowed(KEX),
        key: Cow::Borrowed(KEYS),
        cipher: Cow::Borrowed(CIPHERS),
        mac: Cow::Borrowed(MACS),
        compression: Cow::Borrowed(COMPRESSION),
        ..Preferred::DEFAULT
    }
}

fn rekey(limits: &Limits) -> russh::Limits {
    let bytes = limits.rekey_bytes.clamp(1 << 16, 1 << 30);
    russh::Limits::new(bytes, bytes, REKEY_TIME)
}

pub(crate) fn russh_config(config: &Config, host_keys: &HostKeys) -> server::Config {
    let limits = &config.limits;
    server::Config {
        server_id: SshId::Standard(Cow::Borrowed(IDENTIFICATION)),
        methods: methods(),
        // It would also pad each unknown offered key. Passwords are made equal by the verifier.
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: host_keys.keys().to_vec(),
        certificates: Vec::new(),
        limits: rekey(limits),
        window_size: WINDOW,
        maximum_packet_size: MAX_PACKET,
        channel_buffer_size: 1,
        event_buffer_size: EVENTS,
        preferred: preferred(),
        max_auth_attempts: limits.password_attempts + limits.key_offers + SPARE_ATTEMPTS,
        inactivity_timeout: Some(limits.inactivity),
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: KEEPALIVES_UNANSWERED,
        nodelay: true,
    }
}
