//! Slows down those who guess admins' passwords: failures are counted by source and by name, each in a bounded table.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Rows of each table; a full one forgets who failed longest ago.
const ROWS: usize = 4096;
/// Failures are forgotten so long after the last one.
const MEMORY: Duration = Duration::from_secs(900);

/// How failures of one kind of key are answered.
struct Policy {
    /// Failures without a wait.
    free: u32,
    /// The wait doubles with each further failure, from a second up to this.
    longest: Duration,
}

const BY_SOURCE: Policy = Policy { free: 8, longest: Duration::from_secs(60) };
/// Milder: anybody can fail under an admin's name, and the admin shall still get in.
const BY_NAME: Policy = Policy { free: 24, longest: Duration::from_secs(15) };

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

/// One per node.
#[derive(Default)]
pub(crate) struct Throttle(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    sources: HashMap<IpAddr, Failures>,
    names: HashMap<String, Failures>,
}

impl Throttle {
    /// Counts an attempt as failed beforehand, so that many at once do not slip through; or says how long to wait.
    pub(crate) fn admit<'a>(&'a self, source: Option<IpAddr>, name: &'a str) -> Result<Attempt<'a>, Duration> {
        self.admit_at(source, name, Instant::now())?;
        Ok(Attempt { throttle: self, source, name, counts: false })
    }

    fn admit_at(&self, source: Option<IpAddr>, name: &str, now: Instant) -> Result<(), Duration> {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (source, name) = (source.map(network), shortened(name));
        let by_source = source.and_then(|source| wait(&tables.sources, &source, &BY_SOURCE, now));
        if let Some(left) = by_source.max(wait(&tables.names, &name, &BY_NAME, now)) {
            return Err(left);
        }
        source.into_iter().for_each(|source| count(&mut tables.sources, source, now));
        count(&mut tables.names, name, now);
        Ok(())
    }

    /// The password was right.
    pub(crate) fn succeeded(&self, source: Option<IpAddr>, name: &str) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        source.into_iter().for_each(|source| _ = tables.sources.remove(&network(source)));
        tables.names.remove(&shortened(name));
    }

    /// Nothing was verified: the attempt does not count.
    pub(crate) fn forgive(&self, source: Option<IpAddr>, name: &str) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let less = |row: &mut Failures| row.count = row.count.saturating_sub(1);
        source.into_iter().for_each(|source| _ = tables.sources.get_mut(&network(source)).map(less));
        tables.names.get_mut(&shortened(name)).map(less);
    }
}

/// An attempt before its verification: forgiven when it ends there, by an error or because the caller left.
pub(crate) struct Attempt<'a> {
    throttle: &'a Throttle,
    source: Option<IpAddr>,
    name: &'a str,
    counts: bool,
}

impl Attempt<'_> {
    /// The password is being verified.
    pub(crate) fn counts(mut self) {
        self.counts = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.counts {
            self.throttle.forgive(self.source, self.name);
        }
    }
}

fn wait<K: Hash + Eq>(table: &HashMap<K, Failures>, key: &K, policy: &Policy, now: Instant) -> Option<Duration> {
    let row = table.get(key).filter(|row| now.duration_since(row.last) < MEMORY)?;
    let over = row.count.checked_sub(policy.free)?;
    let wait = Duration::from_secs(1 << over.min(16)).min(policy.longest);
    wait.checked_sub(now.duration_since(row.last)).filter(|left| !left.is_zero())
}

fn count<K: Hash + Eq + Clone>(table: &mut HashMap<K, Failures>, key: K, now: Instant) {
    if table.len() >= ROWS && !table.contains_key(&key) {
        table.retain(|_, row| now.duration_since(row.last) < MEMORY);
        if table.len() >= ROWS {
            let oldest = table.iter().min_by_key(|(_, row)| row.last).map(|(key, _)| key.clone());
            oldest.map(|key| table.remove(&key));
        }
    }
    let row = table.entry(key).or_insert(Failures { count: 0, last: now });
    if now.duration_since(row.last) >= MEMORY {
        row.count = 0;
    }
    *row = Failures { count: row.count.saturating_add(1), last: now };
}

/// Who has one IPv6 address has a /64 of them.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> 64 << 64).into()),
        v4 => v4,
    }
}

fn shortened(name: &str) -> String {
    name[..name.floor_char_boundary(64)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

    #[test]
    fn a_source_that_fails_waits_longer_each_time_and_no_longer_than_a_minute() {
        let throttle = Throttle::default();
        let mut now = Instant::now();
        for name in 0..8 {
            throttle.admit_at(HOME, &name.to_string(), now).expect("free");
        }
        let mut waits = Vec::new();
        for name in 8..20 {
            let wait = throttle.admit_at(HOME, &name.to_string(), now).expect_err("throttled");
            waits.push(wait.as_secs());
            now += wait;
            throttle.admit_at(HOME, &name.to_string(), now).expect("waited for");
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]);
        throttle.admit_at(HOME, "x", now + MEMORY).expect("forgotten");
    }

    #[test]
    fn guesses_under_one_name_from_everywhere_are_slowed_down() {
        let throttle = Throttle::default();
        let now = Instant::now();
        let source = |at: u32| Some(IpAddr::from(at.to_be_bytes()));
        for at in 0..24 {
            throttle.admit_at(source(at), "ann", now).expect("free");
        }
        throttle.admit_at(source(99), "ann", now).expect_err("throttled");
        throttle.admit_at(source(99), "bob", now).expect("another name");
    }

    #[test]
    fn success_clears_and_an_unverified_attempt_does_not_count() {
        let throttle = Throttle::default();
        for _ in 0..100 {
            throttle.admit(HOME, "ann").expect("free").counts();
            throttle.forgive(HOME, "ann");
        }
        for _ in 0..100 {
            drop(throttle.admit(HOME, "ann").expect("nothing was verified"));
        }
        for _ in 0..100 {
            throttle.admit(HOME, "ann").expect("free").counts();
            throttle.succeeded(HOME, "ann");
        }
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source_and_the_tables_are_bounded() {
        let throttle = Throttle::default();
        let now = Instant::now();
        let ip = |high: u128, low: u128| Some(IpAddr::V6((high << 64 | low).into()));
        for low in 0..8 {
            throttle.admit_at(ip(7, low), &low.to_string(), now).expect("free");
        }
        throttle.admit_at(ip(7, 99), "x", now).expect_err("throttled");
        for at in 0..3 * ROWS as u128 {
            throttle.admit_at(ip(1_000 + at, 0), &format!("n{at}"), now).expect("free");
        }
        let tables = throttle.0.lock().expect("no panic while held");
        assert!(tables.sources.len() <= ROWS && tables.names.len() <= ROWS);
    }
}
