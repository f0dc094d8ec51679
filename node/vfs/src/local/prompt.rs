//! Where short system calls run: on the caller's own thread where the file system answers from memory, else on the pool for blocking work.
//!
//! A hop to the pool and back costs more than most calls. What is known to wait for a disk (syncs, uncached reads, truncation, the first
//! entries of a listing) is never run here. What mostly does not still may: a name or inode that is not in memory is read, and a write
//! waits while the kernel holds writers back. Then at most half of the workers wait, and the pool takes over for a while.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use super::system::blocking;

/// A call that took longer shows that the file system is busy.
const SLOW: Duration = Duration::from_millis(5);
/// After a slow call the pool is used for this long.
const REST: Duration = Duration::from_secs(1);

/// `statfs` types of file systems whose metadata and page cache are local: ext4, XFS, Btrfs, F2FS, tmpfs, overlayfs.
/// NFS, CIFS, Ceph and FUSE ask somebody else.
const LOCAL: [u64; 6] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994, 0x794c_7630];

/// Callers inside such calls, of all storages of the process: they share the runtime's workers.
static INSIDE: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// One storage's way to run short calls.
pub(super) struct Prompt {
    /// Callers that may be inside such a call at one time, whatever their storage: at most half of the runtime's workers, so that disks
    /// that hang leave the others to those who need none.
    places: usize,
    inside: Arc<AtomicUsize>,
    opened: Instant,
    /// Milliseconds after `opened` until which the pool is used.
    rests_until: AtomicU64,
}

/// A caller inside a call.
struct Place<'a>(&'a Prompt);

impl Prompt {
    /// For a storage that is opened within the runtime that will use it.
    pub fn of(folder: &OwnedFd) -> Self {
        let is_local = rustix::fs::fstatfs(folder).is_ok_and(|fs| LOCAL.contains(&(fs.f_type as u64)));
        let workers = tokio::runtime::Handle::try_current().map_or(0, |runtime| runtime.metrics().num_workers());
        Self::with_places(if is_local { workers / 2 } else { 0 }, INSIDE.clone())
    }

    fn with_places(places: usize, inside: Arc<AtomicUsize>) -> Self {
        Self { places, inside, opened: Instant::now(), rests_until: AtomicU64::new(0) }
    }

    /// Runs a short call here if it may, else on the pool.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self.enter() {
            Some(place) => place.run(work),
            None => blocking(work).await,
        }
    }

    fn enter(&self) -> Option<Place<'_>> {
        if self.places == 0 || self.now_ms() < self.rests_until.load(Ordering::Relaxed) {
            return None;
        }
        let place = Place(self);
        (self.inside.fetch_add(1, Ordering::AcqRel) < self.places).then_some(place)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Place<'_> {
    fn run<T>(self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        if begun.elapsed() > SLOW {
            let until = self.0.now_ms() + u64::try_from(REST.as_millis()).unwrap_or(u64::MAX);
            self.0.rests_until.fetch_max(until, Ordering::Relaxed);
        }
        done
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> std::thread::ThreadId {
        std::thread::current().id()
    }

    #[tokio::test]
    async fn calls_run_on_the_callers_thread_while_there_is_a_place() {
        let prompt = Prompt::with_places(1, Arc::default());
        assert_eq!(prompt.run(here).await, here());
        let held = prompt.enter().expect("the only place");
        assert_ne!(prompt.run(here).await, here(), "the place is taken");
        drop(held);
        assert_eq!(prompt.run(here).await, here());
        assert_ne!(Prompt::with_places(0, Arc::default()).run(here).await, here());
    }

    #[tokio::test]
    async fn storages_share_the_workers_and_rest_each_for_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let opened = OwnedFd::from(std::fs::File::open(folder.path()).expect("opens"));
        assert!(Arc::ptr_eq(&Prompt::of(&opened).inside, &Prompt::of(&opened).inside));
        let inside = Arc::default();
        let (one, other) = (Prompt::with_places(1, Arc::clone(&inside)), Prompt::with_places(1, inside));
        let held = one.enter().expect("the only place");
        assert_ne!(other.run(here).await, here(), "the place is taken, by a call to another storage");
        drop(held);
        one.rests_until.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(other.run(here).await, here());
        assert_ne!(one.run(here).await, here());
    }

    #[tokio::test]
    async fn a_slow_call_sends_the_next_ones_to_the_pool() {
        let prompt = Prompt::with_places(1, Arc::default());
        let slow = || {
            let begun = Instant::now();
            while begun.elapsed() <= SLOW {
                std::hint::spin_loop();
            }
        };
        prompt.run(slow).await;
        assert_ne!(prompt.run(here).await, here());
    }

    #[tokio::test]
    async fn a_call_that_panics_gives_its_place_back() {
        let prompt = Arc::new(Prompt::with_places(1, Arc::default()));
        let shared = prompt.clone();
        assert!(tokio::spawn(async move { shared.run(|| panic!("in a call")).await }).await.is_err());
        assert_eq!(prompt.run(here).await, here());
    }

    #[tokio::test]
    async fn a_runtime_with_one_worker_keeps_it_free() {
        let folder = tempfile::tempdir().expect("a folder");
        let opened = OwnedFd::from(std::fs::File::open(folder.path()).expect("opens"));
        assert_eq!(Prompt::of(&opened).places, 0);
    }
}
