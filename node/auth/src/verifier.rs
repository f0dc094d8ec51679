//! Verifies passwords off the event loop, a bounded number at a time, at equal cost for users that do not exist.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::password::{MAX_PASSWORD_BYTES, hash_password, verify_password};
use crate::secret::Secret;

/// Bounds of the verifier.
#[derive(Clone, Debug)]
pub struct VerifierConfig {
    /// Hashes computed at one time.
    pub workers: usize,
    /// Logins that may wait for a worker; more are told to try later.
    pub queue: usize,
    /// How long a right password is remembered, as a keyed digest.
    pub cache_ttl: Duration,
    pub cache_entries: usize,
}

impl Default for VerifierConfig {
    fn default() -> Self {
        VerifierConfig {
            workers: std::thread::available_parallelism().map_or(2, usize::from),
            queue: 64,
            cache_ttl: Duration::from_secs(60),
            cache_entries: 4096,
        }
    }
}

/// What became of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Right,
    Wrong,
    /// Too many logins are being verified: nothing can be said.
    Busy,
}

type CacheKey = [u8; 32];

/// Cheap to share behind an `Arc`.
pub struct Verifier {
    config: VerifierConfig,
    workers: Arc<Semaphore>,
    waiting: AtomicUsize,
    dummy: Arc<str>,
    secret: [u8; 64],
    cache: Mutex<HashMap<CacheKey, Instant>>,
}

impl Verifier {
    pub fn new(config: VerifierConfig) -> Self {
        let nobody: [u8; 16] = rand::random();
        let dummy = hash_password(&nobody).expect("sixteen bytes can be hashed");
        Verifier {
            workers: Arc::new(Semaphore::new(config.workers.max(1))),
            waiting: AtomicUsize::new(0),
            dummy: dummy.into(),
            secret: rand::random(),
            cache: Mutex::new(HashMap::new()),
            config,
        }
    }

    /// Verifies a user's password. `stored` is `None` for users that do not exist, may not log in or have no password:
    /// a hash of nobody's password is verified instead. `revision` is the index of the last change of the credentials.
    pub async fn verify(&self, user: &str, revision: u64, stored: Option<&str>, password: &Secret) -> Verdict {
        let possible =
            stored.is_some() && !password.expose().is_empty() && password.expose().len() <= MAX_PASSWORD_BYTES;
        let key = self.cache_key(user, revision, password);
        if possible && self.is_cached(&key) {
            return Verdict::Right;
        }
        let hash: Arc<str> = stored.filter(|_| possible).map_or_else(|| Arc::clone(&self.dummy), Into::into);
        match self.compute(hash, password.clone()).await {
            None => Verdict::Busy,
            Some(right) if right && possible => {
                self.remember(key);
                Verdict::Right
            }
            Some(_) => Verdict::Wrong,
        }
    }

    /// `None`: the queue is full.
    async fn compute(&self, stored: Arc<str>, password: Secret) -> Option<bool> {
        let _place = Place::take(&self.waiting, self.config.queue + self.config.workers)?;
        let permit = Arc::clone(&self.workers).acquire_owned().await.ok()?;
        let dummy = Arc::clone(&self.dummy);
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let presented = &password.expose()[..password.expose().len().min(MAX_PASSWORD_BYTES)];
            verify_password(&stored, presented).unwrap_or_else(|_| {
                // A stored hash that cannot be used costs as much as a wrong password.
                let _ = verify_password(&dummy, presented);
                false
            })
        });
        work.await.ok()
    }

    /// HMAC-SHA-256 under a secret of this process (RFC 2104), over the fields with their lengths.
    fn cache_key(&self, user: &str, revision: u64, password: &Secret) -> CacheKey {
        let pad = |byte: u8| self.secret.map(|b| b ^ byte);
        let mut inner = Sha256::new_with_prefix(pad(0x36));
        inner.update((user.len() as u64).to_be_bytes());
        inner.update(user.as_bytes());
        inner.update(revision.to_be_bytes());
        inner.update(password.expose());
        Sha256::new_with_prefix(pad(0x5c)).chain_update(inner.finalize()).finalize().into()
    }

    fn is_cached(&self, key: &CacheKey) -> bool {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get(key).is_some_and(|verified| verified.elapsed() < self.config.cache_ttl)
    }

    fn remember(&self, key: CacheKey) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= self.config.cache_entries {
            cache.retain(|_, verified| verified.elapsed() < self.config.cache_ttl);
        }
        if cache.len() < self.config.cache_entries {
            cache.insert(key, Instant::now());
        }
    }
}

/// A place in the bounded queue.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        if waiting.fetch_add(1, Ordering::AcqRel) >= most {
            waiting.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Place(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
