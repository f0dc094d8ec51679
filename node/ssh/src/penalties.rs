//! Sources whose connections come to nothing are refused for a while, the longer the more of them do (`security.md` 4.6; the rules and
//! times of OpenSSH's `PerSourcePenalties`). Kept by each node for itself: a failed login never reaches the log.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::cidr::Cidr;
use crate::startups::source_of;

/// How much each offence costs. Penalties add up and run off with time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PenaltyRules {
    /// A connection that ended after wrong credentials.
    pub auth_failed: Duration,
    /// A connection that ended without trying any.
    pub no_auth: Duration,
    /// A connection that used up its login grace.
    pub grace: Duration,
    /// A connection whose session panicked.
    pub crashed: Duration,
    /// A source is refused once its penalties come to this much, until they have run off.
    pub least: Duration,
    /// They never come to more.
    pub most: Duration,
    /// Sources that are remembered (IPv6: /64).
    pub sources: usize,
    /// Never refused: health checks, balancers without PROXY protocol, whoever is many behind one address.
    pub exempt: Vec<Cidr>,
}

impl Default for PenaltyRules {
    fn default() -> Self {
        let loopback = ["127.0.0.0/8", "::1/128"];
        PenaltyRules {
            auth_failed: Duration::from_secs(5),
            no_auth: Duration::from_secs(1),
            grace: Duration::from_secs(10),
            crashed: Duration::from_secs(90),
            least: Duration::from_secs(15),
            most: Duration::from_secs(600),
            sources: 65_536,
            exempt: loopback.iter().filter_map(|text| text.parse().ok()).collect(),
        }
    }
}

/// Why a connection that never logged in ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offence {
    AuthFailed,
    NoAuth,
    Grace,
    Crashed,
}

#[derive(Clone, Copy)]
struct Penalty {
    runs_off: Instant,
    /// It has come to the least that is enforced.
    enforced: bool,
}

#[derive(Default)]
struct Table {
    by_source: HashMap<IpAddr, Penalty>,
    /// The same in the order in which they run off: those that are not enforced, and those that are.
    in_order: [BTreeSet<(Instant, IpAddr)>; 2],
}

impl Table {
    fn set(&mut self, source: IpAddr, penalty: Penalty) {
        self.remove(source);
        self.by_source.insert(source, penalty);
        self.in_order[usize::from(penalty.enforced)].insert((penalty.runs_off, source));
    }

    fn remove(&mut self, source: IpAddr) {
        if let Some(old) = self.by_source.remove(&source) {
            self.in_order[usize::from(old.enforced)].remove(&(old.runs_off, source));
        }
    }

    /// What is missed least: what has run off, else the first of those that are not enforced, else the first of the others.
    fn least(&self, now: Instant) -> Option<IpAddr> {
        let [lenient, enforced] = &self.in_order;
        let over = enforced.first().filter(|(runs_off, _)| *runs_off <= now);
        over.or(lenient.first()).or(enforced.first()).map(|(_, source)| *source)
    }
}

/// The penalties of a node.
pub(crate) struct Penalties {
    rules: PenaltyRules,
    table: Mutex<Table>,
}

impl Penalties {
    pub(crate) fn new(rules: PenaltyRules) -> Arc<Self> {
        Arc::new(Penalties { rules, table: Mutex::default() })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_exempt(&self, address: IpAddr) -> bool {
        self.rules.exempt.iter().any(|range| range.contains(address))
    }

    /// Whether connections of this source are refused now.
    pub(crate) fn refuses(&self, address: IpAddr) -> bool {
        let now = Instant::now();
        let table = self.table();
        table.by_source.get(&source_of(address)).is_some_and(|penalty| penalty.enforced && now < penalty.runs_off)
    }

    pub(crate) fn note(&self, address: IpAddr, offence: Offence) {
        let cost = match offence {
            Offence::AuthFailed => self.rules.auth_failed,
            Offence::NoAuth => self.rules.no_auth,
            Offence::Grace => self.rules.grace,
            Offence::Crashed => self.rules.crashed,
        };
        if cost.is_zero() || self.rules.sources == 0 || self.is_exempt(address) {
            return;
        }
        let (now, source) = (Instant::now(), source_of(address));
        let mut table = self.table();
        let known = table.by_source.get(&source).copied().filter(|penalty| now < penalty.runs_off);
        let mut penalty = known.unwrap_or(Penalty { runs_off: now, enforced: false });
        penalty.runs_off = (penalty.runs_off + cost).min(now + self.rules.most);
        if !penalty.enforced && penalty.runs_off - now >= self.rules.least {
            penalty.enforced = true;
            metrics::counter!("flotilla_ssh_sources_penalised_total").increment(1);
            tracing::warn!(sender = "ssh", %source, seconds = (penalty.runs_off - now).as_secs(), "source refused for a while");
        }
        table.set(source, penalty);
        // Bounded: a flood of sources may push out what it brought itself, and never one that is refused for one that is not yet.
        if table.by_source.len() > self.rules.sources
            && let Some(least) = table.least(now)
        {
            table.remove(least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn penalties(change: impl FnOnce(&mut PenaltyRules)) -> Arc<Penalties> {
        let mut rules = PenaltyRules::default();
        change(&mut rules);
        Penalties::new(rules)
    }

    #[tokio::test(start_paused = true)]
    async fn penalties_add_up_are_enforced_from_the_least_on_and_run_off() {
        let penalties = penalties(|_| {});
        let (bad, other) = (address("192.0.2.1"), address("192.0.2.2"));
        for _ in 0..2 {
            penalties.note(bad, Offence::AuthFailed);
        }
        assert!(!penalties.refuses(bad), "ten seconds are not enough");
        penalties.note(bad, Offence::AuthFailed);
        assert!(penalties.refuses(bad) && !penalties.refuses(other));
        tokio::time::advance(Duration::from_secs(14)).await;
        assert!(penalties.refuses(bad), "refused until all of it has run off");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!penalties.refuses(bad));
        penalties.note(bad, Offence::AuthFailed);
        assert!(!penalties.refuses(bad), "it begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn they_never_come_to_more_than_the_most() {
        let penalties = penalties(|_| {});
        let bad = address("192.0.2.1");
        for _ in 0..1000 {
            penalties.note(bad, Offence::Crashed);
        }
        tokio::time::advance(Duration::from_secs(599)).await;
        assert!(penalties.refuses(bad));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!penalties.refuses(bad));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_failures_run_off_before_they_add_up() {
        let penalties = penalties(|_| {});
        for _ in 0..100 {
            penalties.note(address("192.0.2.1"), Offence::NoAuth);
            assert!(!penalties.refuses(address("192.0.2.1")), "a health check every two seconds");
            tokio::time::advance(Duration::from_secs(2)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn exempt_sources_are_never_refused_and_a_prefix_is_one_source() {
        let penalties = penalties(|rules| rules.exempt.push("198.51.100.0/24".parse().expect("a range")));
        for exempt in ["198.51.100.7", "127.0.0.1", "::1"] {
            penalties.note(address(exempt), Offence::Crashed);
            assert!(!penalties.refuses(address(exempt)), "{exempt}");
        }
        penalties.note(address("2001:db8::1"), Offence::Crashed);
        assert!(penalties.refuses(address("2001:db8::2")) && !penalties.refuses(address("2001:db8:0:1::2")));
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_a_flood_of_sources_is_still_noted() {
        let penalties = penalties(|rules| rules.sources = 100);
        for n in 0..10_000u32 {
            penalties.note(IpAddr::V4(n.to_be_bytes().into()), Offence::Crashed);
            assert!(penalties.table().by_source.len() <= 100);
        }
        assert!(penalties.refuses(IpAddr::V4(9_999u32.to_be_bytes().into())), "the newest is there");
    }

    #[tokio::test(start_paused = true)]
    async fn an_enforced_penalty_survives_a_flood_of_sources_and_one_that_has_run_off_does_not() {
        let penalties = penalties(|rules| rules.sources = 100);
        let source = |n: u32| IpAddr::V4(n.to_be_bytes().into());
        let (short, long) = (address("192.0.2.1"), address("192.0.2.2"));
        for _ in 0..3 {
            penalties.note(short, Offence::AuthFailed);
        }
        penalties.note(long, Offence::Crashed);
        for n in 0..10_000 {
            penalties.note(source(n), Offence::Grace);
            assert!(penalties.refuses(short) && penalties.refuses(long), "after {n} others");
        }
        tokio::time::advance(Duration::from_secs(15)).await;
        penalties.note(source(10_000), Offence::Grace);
        let table = penalties.table();
        assert!(!table.by_source.contains_key(&short), "it goes before any other");
        assert!(table.by_source.contains_key(&long) && table.by_source.contains_key(&source(9_999)));
        assert_eq!(table.by_source.len(), 100);
        assert_eq!(table.in_order.iter().map(BTreeSet::len).sum::<usize>(), 100);
    }
}
